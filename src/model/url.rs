//! Where a stream lives: `s3://bucket/prefix`, `gs://bucket/prefix` or `file:///dir`, with options after `?`.
//!
//! | option | of | meaning |
//! |---|---|---|
//! | `endpoint=http://host:port` | S3, GCS | another server than the provider's |
//! | `region=` | S3 | the bucket's region |
//! | `path_style=true` | S3 | the bucket goes into the path, not into the host name |
//! | `profile=` | S3 | a profile of the AWS configuration files |
//! | `sse=aws:kms` | S3 | new objects are encrypted by the server with the account's key in KMS |
//! | `sse_kms_key=` | S3 | the same with this key: its id, ARN or alias |
//! | `storage_class=` | S3 | of new objects: one that is read at once, such as `STANDARD_IA` |
//! | `requester_pays=true` | S3 | requests are paid for by who makes them |
//!
//! Credentials are no options: what is in a URL is in logs and process lists.

use super::ObjectKey;
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
    /// What only S3 has.
    pub s3: S3Options,
}

/// Options of requests to S3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct S3Options {
    /// `profile=`: of the AWS configuration files.
    pub profile: Option<String>,
    /// `sse=aws:kms` or `sse_kms_key=`: how the server encrypts new objects, unless as the bucket says.
    pub encryption: Option<KmsKey>,
    /// `storage_class=`: of new objects.
    pub storage_class: Option<String>,
    /// `requester_pays=true`.
    pub requester_pays: bool,
}

/// A key of the Key Management Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KmsKey {
    /// The account's own for S3 (`aws/s3`).
    Default,
    /// One with this id, ARN or alias.
    Named(String),
}

/// Storage classes whose objects cannot be read before they are restored.
const CLASSES_AT_REST: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

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
            s3: S3Options::default(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            url.set_option(pair).map_err(&fail)?;
        }
        Ok(url)
    }
}

impl StoreUrl {
    /// The place of `dir` below this one, reached in the same way.
    #[must_use]
    pub fn below(&self, dir: &ObjectKey) -> StoreUrl {
        let mut url = self.clone();
        match &mut url.location {
            Location::S3 { prefix, .. } | Location::Gcs { prefix, .. } => {
                if !prefix.is_empty() {
                    prefix.push('/');
                }
                prefix.push_str(dir.as_str());
            }
            Location::File { dir: root } => root.push(dir.as_str()),
        }
        url
    }

    /// The place alone, from the server to the last part of the prefix: one that begins with all of another's is below it. How
    /// it is reached, by which region or profile, makes no other place of it.
    pub fn place(&self) -> Vec<String> {
        let (scheme, root, path) = match &self.location {
            Location::S3 { bucket, prefix } => ("s3", bucket.as_str(), prefix.clone()),
            Location::Gcs { bucket, prefix } => ("gs", bucket.as_str(), prefix.clone()),
            Location::File { dir } => ("file", "", dir.display().to_string()),
        };
        let server = self.endpoint.clone().unwrap_or_default();
        let mut place = vec![scheme.to_owned(), server, root.to_owned()];
        let parts = path.split('/').filter(|part| !part.is_empty());
        place.extend(parts.map(str::to_owned));
        place
    }

    fn set_option(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = pair.split_once('=').ok_or("an option has no value")?;
        let shown: String = name.chars().take(OPTION_PRINTED_CHARS_MAX).collect();
        match self.location {
            Location::File { .. } => {
                return Err(format!("option {shown:?} means nothing for a directory"));
            }
            Location::Gcs { .. } if S3_ONLY.contains(&name) => {
                return Err(format!(
                    "option {shown:?} means nothing for Google Cloud Storage"
                ));
            }
            Location::Gcs { .. } | Location::S3 { .. } => {}
        }
        // Values are not repeated: what is not understood may be a secret, and messages are logged.
        match (name, value) {
            ("endpoint", value) => self.endpoint = Some(endpoint(value)?),
            ("region", v) if !v.is_empty() => self.region = Some(v.to_owned()),
            ("path_style", "true") => self.path_style = true,
            ("path_style", "false") => self.path_style = false,
            _ => return self.s3.set(name, value, &shown),
        }
        Ok(())
    }
}

/// Options that only S3 has.
const S3_ONLY: [&str; 7] = [
    "region",
    "path_style",
    "profile",
    "sse",
    "sse_kms_key",
    "storage_class",
    "requester_pays",
];

impl S3Options {
    fn set(&mut self, name: &str, value: &str, shown: &str) -> Result<(), String> {
        let plain = |more: &str| {
            value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        match (name, value) {
            ("profile", v) if !v.is_empty() => self.profile = Some(v.to_owned()),
            ("sse", "aws:kms") => {
                // A key that is named says more.
                self.encryption.get_or_insert(KmsKey::Default);
            }
            ("sse_kms_key", v) if !v.is_empty() && plain(":/_.-") => {
                self.encryption = Some(KmsKey::Named(v.to_owned()));
            }
            ("storage_class", v) if CLASSES_AT_REST.contains(&v) => {
                return Err(format!(
                    "objects of storage class {v} cannot be read at once, which mounting and archiving need; let a lifecycle rule move old ones, or use GLACIER_IR"
                ));
            }
            ("storage_class", v) if !v.is_empty() && plain("_") => {
                self.storage_class = Some(v.to_owned());
            }
            ("requester_pays", "true") => self.requester_pays = true,
            ("requester_pays", "false") => self.requester_pays = false,
            ("sse", _) => {
                return Err("option \"sse\" can only be aws:kms; what else the bucket encrypts with is set on the bucket".to_owned());
            }
            (name, _) if S3_ONLY.contains(&name) => {
                return Err(format!("option {name:?} cannot have this value"));
            }
            _ => {
                return Err(format!(
                    "unknown option {shown:?}; there are endpoint, {}",
                    S3_ONLY.join(", ")
                ));
            }
        }
        Ok(())
    }
}

fn endpoint(value: &str) -> Result<String, String> {
    if value.contains('@') {
        return Err("an endpoint must not carry credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile".to_owned());
    }
    let host = ["http://", "https://"]
        .iter()
        .find_map(|s| value.strip_prefix(s));
    let host = host.ok_or("an endpoint must begin with http:// or https://")?;
    if host.trim_end_matches('/').is_empty() {
        return Err("an endpoint needs a host".to_owned());
    }
    Ok(value.trim_end_matches('/').to_owned())
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
        let S3Options {
            profile,
            encryption,
            storage_class,
            requester_pays,
        } = &self.s3;
        let (sse, key) = match encryption {
            None => (None, None),
            Some(KmsKey::Default) => (Some("aws:kms"), None),
            Some(KmsKey::Named(key)) => (None, Some(key.as_str())),
        };
        let options = [
            ("endpoint", self.endpoint.as_deref()),
            ("region", self.region.as_deref()),
            ("path_style", self.path_style.then_some("true")),
            ("profile", profile.as_deref()),
            ("sse", sse),
            ("sse_kms_key", key),
            ("storage_class", storage_class.as_deref()),
            ("requester_pays", requester_pays.then_some("true")),
        ];
        let mut separator = '?';
        for (name, value) in options {
            if let Some(value) = value {
                write!(f, "{separator}{name}={value}")?;
                separator = '&';
            }
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
            "s3://b/p?profile=backup&sse=aws:kms&storage_class=STANDARD_IA&requester_pays=true",
            "s3://b/p?sse_kms_key=arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab",
            "gs://bucket/prod",
            "gs://bucket/prod?endpoint=http://127.0.0.1:4443",
            "file:///var/archive",
        ] {
            assert_eq!(text.parse::<StoreUrl>().expect("parses").to_string(), text);
        }
    }

    #[test]
    fn a_place_below_is_the_one_that_its_own_url_names() {
        let dir = "prod/orders".parse().expect("a key");
        for (above, below) in [
            ("s3://b?region=x", "s3://b/prod/orders?region=x"),
            ("s3://b/p?sse=aws:kms", "s3://b/p/prod/orders?sse=aws:kms"),
            ("gs://b/p", "gs://b/p/prod/orders"),
            ("file:///srv/b", "file:///srv/b/prod/orders"),
        ] {
            let above: StoreUrl = above.parse().expect("a URL");
            assert_eq!(above.below(&dir), below.parse().expect("a URL"));
        }
    }

    #[test]
    fn a_place_is_below_another_by_whole_parts_whatever_the_options() {
        let place = |text: &str| text.parse::<StoreUrl>().expect("a URL").place();
        for (above, below) in [
            ("s3://b", "s3://b/p?region=x"),
            ("s3://b/p?profile=a", "s3://b/p"),
            ("gs://b/p", "gs://b/p/q"),
            ("file:///srv", "file:///srv/b/"),
        ] {
            assert!(place(below).starts_with(&place(above)), "{above} {below}");
        }
        for (one, other) in [
            ("s3://b/acme", "s3://b/acme2"),
            ("s3://b/p", "gs://b/p"),
            ("s3://b/p", "s3://b/p?endpoint=http://h:1"),
            ("s3://b/p/q", "s3://b/p"),
        ] {
            assert!(!place(other).starts_with(&place(one)), "{one} {other}");
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
            ("gs://b/p?region=x", "means nothing for Google"),
            (
                "gs://b/p?storage_class=COLDLINE",
                "means nothing for Google",
            ),
            ("s3://b/p?sse=AES256", "aws:kms"),
            ("s3://b/p?sse_kms_key=", "cannot have this value"),
            ("s3://b/p?sse_kms_key=a b", "cannot have this value"),
            ("s3://b/p?storage_class=a-b", "cannot have this value"),
            ("s3://b/p?storage_class=DEEP_ARCHIVE", "lifecycle rule"),
            ("s3://b/p?requester_pays=yes", "cannot have this value"),
            ("s3://b/p?profile=", "cannot have this value"),
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
            "s3://b/p?sse=XYZ",
            "s3://b/p?sse_kms_key=XYZ!",
            "s3://b/p?storage_class=XYZ!",
            "s3://b/p?requester_pays=XYZ",
            "gs://b/p?profile=XYZ",
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
                    "s3://b/p?requester_pays=false",
                ],
                "s3://b/p",
            ),
            (
                &[
                    "s3://b/p?sse_kms_key=k",
                    "s3://b/p?sse=aws:kms&sse_kms_key=k",
                    "s3://b/p?sse_kms_key=k&sse=aws:kms",
                ],
                "s3://b/p?sse_kms_key=k",
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
