//! Where a stream lives: `s3://bucket/prefix`, `gs://bucket/prefix` or `file:///dir`, with options after `?`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The kind of store and the place in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// An S3 bucket and a prefix without slashes at its ends.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix, empty for the whole bucket.
        prefix: String,
    },
    /// A Google Cloud Storage bucket and a prefix without slashes at its ends.
    Gcs {
        /// The bucket.
        bucket: String,
        /// The prefix, empty for the whole bucket.
        prefix: String,
    },
    /// An absolute directory.
    File {
        /// The directory.
        dir: PathBuf,
    },
}

/// A parsed store URL. Nothing is percent-decoded: a path is taken as it is written, up to the first `?`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoreUrl {
    /// The place.
    pub location: Location,
    /// `endpoint=`: another server than the provider's.
    pub endpoint: Option<String>,
    /// `region=`.
    pub region: Option<String>,
    /// `path_style=true`: the bucket goes into the path, not the host name.
    pub path_style: bool,
}

/// A store URL that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "store URL {url:?}: {reason}; write s3://bucket/prefix, gs://bucket/prefix or file:///directory"
)]
pub struct ParseUrlError {
    url: String,
    reason: String,
}

/// Longest URL accepted: longer than any bucket, prefix and endpoint together.
const URL_MAX_BYTES: usize = 4096;

/// Characters of a URL that an error repeats.
const PRINTED_CHARS_MAX: usize = 200;

/// As much of an option's name as an error repeats: longer than any that there is.
const OPTION_PRINTED_CHARS_MAX: usize = 30;

impl FromStr for StoreUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason: String| ParseUrlError {
            url: printable(text),
            reason,
        };
        if text.len() > URL_MAX_BYTES {
            return Err(fail(format!("longer than {URL_MAX_BYTES} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(fail("has a control character".to_owned()));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| fail("has no scheme".to_owned()))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let location = match scheme {
            "s3" => bucket_and_prefix(path).map(|(bucket, prefix)| Location::S3 { bucket, prefix }),
            "gs" => {
                bucket_and_prefix(path).map(|(bucket, prefix)| Location::Gcs { bucket, prefix })
            }
            "file" => directory(path).map(|dir| Location::File { dir }),
            _ => Err("unknown scheme".to_owned()),
        }
        .map_err(&fail)?;
        let mut url = StoreUrl {
            location,
            endpoint: None,
            region: None,
            path_style: false,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            url.set_option(pair).map_err(&fail)?;
        }
        Ok(url)
    }
}

impl StoreUrl {
    fn set_option(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = pair.split_once('=').ok_or("an option has no value")?;
        let shown: String = name.chars().take(OPTION_PRINTED_CHARS_MAX).collect();
        if matches!(self.location, Location::File { .. }) {
            return Err(format!("option {shown:?} means nothing for a directory"));
        }
        // Values are not repeated: what is not understood may be a secret, and messages are logged.
        match (name, value) {
            ("endpoint", v) if v.contains('@') => {
                return Err("an endpoint must not carry credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile".to_owned());
            }
            ("endpoint", v) => {
                let host = ["http://", "https://"]
                    .iter()
                    .find_map(|s| v.strip_prefix(s));
                let host = host.ok_or("an endpoint must begin with http:// or https://")?;
                if host.trim_end_matches('/').is_empty() {
                    return Err("an endpoint needs a host".to_owned());
                }
                self.endpoint = Some(v.trim_end_matches('/').to_owned());
            }
            ("region", v) if !v.is_empty() => self.region = Some(v.to_owned()),
            ("path_style", "true") => self.path_style = true,
            ("path_style", "false") => self.path_style = false,
            ("region" | "path_style", _) => {
                return Err(format!("option {name:?} cannot have this value"));
            }
            _ => return Err(format!("unknown option {shown:?}")),
        }
        Ok(())
    }
}

fn bucket_and_prefix(path: &str) -> Result<(String, String), String> {
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        return Err("has no bucket".to_owned());
    }
    if !bucket
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    {
        return Err("the bucket has a character no bucket name can have".to_owned());
    }
    let prefix = prefix.trim_matches('/');
    if prefix.split('/').any(|part| part == "." || part == "..") || prefix.contains("//") {
        return Err("the prefix has an empty, '.' or '..' part".to_owned());
    }
    Ok((bucket.to_owned(), prefix.to_owned()))
}

fn directory(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err("a directory must be absolute: file:///dir has three slashes".to_owned());
    }
    if path.split('/').any(|part| part == "..") {
        return Err("a directory must not have '..' parts".to_owned());
    }
    // One directory, one spelling: local state is kept under the URL's text.
    Ok(Path::new(path).components().collect())
}

/// As much of a URL as an error may repeat: neither the options nor what stands before an `@`, where people put keys.
pub(crate) fn printable(text: &str) -> String {
    let place = text.split('?').next().unwrap_or_default();
    let shown: String = match place.split_once("://") {
        Some((scheme, rest)) if scheme != "file" => {
            let host = rest.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}")
        }
        _ => place.to_owned(),
    };
    shown.chars().take(PRINTED_CHARS_MAX).collect()
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}")?,
            Location::Gcs { bucket, prefix } => write!(f, "gs://{bucket}/{prefix}")?,
            Location::File { dir } => write!(f, "file://{}", dir.display())?,
        }
        let mut separator = '?';
        for (name, value) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            if let Some(value) = value {
                write!(f, "{separator}{name}={value}")?;
                separator = '&';
            }
        }
        if self.path_style {
            write!(f, "{separator}path_style=true")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_repeats_little_of_an_option_that_is_none() {
        for place in ["s3://b/p", "file:///d"] {
            let text = format!("{place}?{}=x", "k".repeat(3000));
            let error = text.parse::<StoreUrl>().expect_err("refused").to_string();
            assert!(error.len() < 300, "{error}");
        }
    }

    #[test]
    fn the_three_schemes_parse_and_print_back() {
        for text in [
            "s3://bucket/prod/orders?endpoint=http://127.0.0.1:9000&region=eu-west-1&path_style=true",
            "gs://bucket/prod",
            "file:///var/archive",
        ] {
            assert_eq!(text.parse::<StoreUrl>().expect("parses").to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_a_store_is_refused_with_the_reason() {
        for (text, reason) in [
            ("ftp://host/x", "unknown scheme"),
            ("/plain/path", "no scheme"),
            ("file://relative", "absolute"),
            ("file:///a/../b", "'..'"),
            ("s3:///prefix", "no bucket"),
            ("s3://b/a/../c", "'..'"),
            ("s3://b/p?endpoint=host:9000", "must begin with http"),
            ("s3://b/p?endpoint=http://key:secret@host", "credentials"),
            ("s3://b/p?endpoint=http://", "needs a host"),
            ("s3://b/p?endpoint=https:///", "needs a host"),
            ("s3://b/p?regoin=x", "unknown option"),
            ("file:///d?region=x", "means nothing"),
            ("s3://b\0/p", "control"),
        ] {
            let error = text.parse::<StoreUrl>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_repeats_no_value_that_could_be_a_secret() {
        for text in [
            "s3://b/p?secret_key=XYZ",
            "s3://b/p?region=&secret_key=XYZ",
            "s3://b/p?XYZ",
            "s3://b/p?path_style=XYZ",
            "s3://b/p?endpoint=XYZ",
            "s3://b/p?endpoint=http://key:XYZ@host",
            "s3://b/../p?secret_key=XYZ",
            "s3://key:XYZ@b/p",
            "s3://key:XYZ/and/more@b/p",
            "ftp://key:XYZ@host/p",
            "file:///d?password=XYZ",
        ] {
            let error = text.parse::<StoreUrl>().expect_err(text).to_string();
            assert!(!error.contains("XYZ"), "{text}: {error}");
        }
    }

    #[test]
    fn every_spelling_of_a_place_prints_the_same() {
        for (spellings, one) in [
            (
                &[
                    "file:///d/e",
                    "file:///d/e/",
                    "file:///./d//e/.",
                    "file:////d/e",
                ][..],
                "file:///d/e",
            ),
            (&["file:///", "file:////", "file:///."], "file:///"),
            (
                &[
                    "s3://b/p/",
                    "s3://b//p",
                    "s3://b/p",
                    "s3://b/p?path_style=false",
                ],
                "s3://b/p",
            ),
            (
                &[
                    "s3://b/p?region=r&endpoint=http://h:1/",
                    "s3://b/p?endpoint=http://h:1&region=r",
                ],
                "s3://b/p?endpoint=http://h:1&region=r",
            ),
        ] {
            for text in spellings {
                assert_eq!(text.parse::<StoreUrl>().expect(text).to_string(), one);
            }
        }
    }
}
