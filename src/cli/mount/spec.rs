//! What is mounted: a URL, or a configuration file that has it and options.
//!
//! ```toml
//! url = "s3://bucket/prod/orders"
//! identity = ["/etc/binlogfs/key.txt"]
//! refresh = 10
//! allow_other = true
//! ```

use super::options::MountOption;
use super::told::{self, Told};
use crate::model::StoreUrl;
use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::de::{DeTable, DeValue};

/// Largest file read: a URL and a dozen options.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// What is mounted.
#[derive(Clone, Debug)]
pub enum Spec {
    /// A URL, and how it was written: mount(8) compares that with /etc/fstab.
    Url(Box<StoreUrl>, String),
    /// A configuration file.
    File(PathBuf),
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Spec, String> {
        if text.contains("://") {
            let url = text.parse::<StoreUrl>().map_err(|e| e.to_string())?;
            return Ok(Spec::Url(Box::new(url), text.to_owned()));
        }
        if !text.contains('/') && !Path::new(text).exists() {
            return Err(format!(
                "{text:?} is neither a URL (s3://bucket/prefix, gs://bucket/prefix, file:///dir) nor a configuration file"
            ));
        }
        let absolute = std::path::absolute(text).map_err(|e| e.to_string())?;
        Ok(Spec::File(absolute))
    }
}

/// As mountinfo and the arguments of a process show it.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spec::Url(_, written) => f.write_str(written),
            Spec::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Spec {
    /// The URL and what is told with it.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration file.
    pub fn resolve(&self) -> Result<(StoreUrl, Vec<Told>)> {
        match self {
            Spec::Url(url, _) => Ok((StoreUrl::clone(url), Vec::new())),
            Spec::File(path) => {
                let shown = path.display();
                let text = read_file(path)
                    .with_context(|| format!("cannot read the configuration file {shown}"))?;
                parse_file(&text).map_err(|mistakes| {
                    anyhow::anyhow!(
                        "the configuration file {shown} is wrong:\n{}",
                        mistakes.join("\n")
                    )
                })
            }
        }
    }
}

fn read_file(path: &Path) -> Result<String> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() || meta.len() > FILE_MAX_BYTES {
        bail!("it is no regular file of at most {FILE_MAX_BYTES} bytes");
    }
    Ok(std::fs::read_to_string(path)?)
}

/// Reads such a file.
///
/// # Errors
/// All its mistakes, each with its line.
fn parse_file(text: &str) -> Result<(StoreUrl, Vec<Told>), Vec<String>> {
    let line = |at: usize| {
        let before = text.get(..at).unwrap_or(text);
        before.bytes().filter(|b| *b == b'\n').count() + 1
    };
    let mut mistakes = Vec::new();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        mistakes.push(format!(
            "line {}: this is no TOML: {}",
            line(at),
            error.message()
        ));
    }
    let (mut url, mut told) = (None, Vec::new());
    for (key, value) in document.get_ref().iter() {
        let name = key.get_ref().as_ref();
        let taken = match name {
            "url" => one_url(value.get_ref()).map(|found| {
                url = Some(found);
            }),
            _ => take(name, value.get_ref(), &mut told),
        };
        if let Err(why) = taken {
            mistakes.push(format!("line {}: {name}: {why}", line(key.span().start)));
        }
    }
    if url.is_none() && mistakes.is_empty() {
        mistakes.push("line 1: there is no url; write url = \"s3://bucket/prefix\"".to_owned());
    }
    match url {
        Some(url) if mistakes.is_empty() => Ok((url, told)),
        _ => Err(mistakes),
    }
}

fn one_url(value: &DeValue<'_>) -> Result<StoreUrl, String> {
    match &value_texts(value)?[..] {
        [one] => one.parse::<StoreUrl>().map_err(|e| e.to_string()),
        _ => Err("is a list; write one URL".to_owned()),
    }
}

fn take(name: &str, value: &DeValue<'_>, told: &mut Vec<Told>) -> Result<(), String> {
    let option = MountOption::find(name).ok_or_else(|| told::unknown(name))?;
    for text in value_texts(value)? {
        told.push(option.tell(Some(&text))?);
    }
    Ok(())
}

/// The value or values of a key, as they would be written in `-o`.
fn value_texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let one = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Ok(text.to_string()),
        // As it is written, so that mode = 0440 is what it looks like; TOML itself refuses the leading zero.
        DeValue::Integer(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        other => Err(format!(
            "is a {}; write a string, a number, true or false",
            other.type_str()
        )),
    };
    match value {
        DeValue::Array(items) => items.iter().map(|item| one(item.get_ref())).collect(),
        value => Ok(vec![one(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::MountSettings;
    use super::*;

    #[test]
    fn a_file_has_the_url_and_options_by_their_names() {
        let text = "url = \"s3://b/p\" # what\nidentity = [\"/k1\", \"/k2\"]\nrefresh = 10\nmode = \"0444\"\nallow_other = true\n";
        let (url, told) = parse_file(text).expect("good");
        assert_eq!(url.to_string(), "s3://b/p");
        let settings = MountSettings::of(&told);
        assert_eq!(settings.identity, [Path::new("/k1"), Path::new("/k2")]);
        assert_eq!(settings.refresh.as_secs(), 10);
        assert_eq!(settings.mode, 0o444);
        assert!(settings.allow_other);
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_lines() {
        let mistakes = parse_file("url = \"ftp://x\"\nrefersh = 1\nmode = \"0777\"\nuid = 1.5\n")
            .expect_err("wrong");
        let all = mistakes.join("\n");
        for part in [
            "line 1: url:",
            "line 2: refersh: there is no option \"refersh\"; did you mean refresh?",
            "line 3: mode: the mount is read-only",
            "line 4: uid: is a float",
        ] {
            assert!(all.contains(part), "{all}");
        }
        let lacking = parse_file("refresh = 1\n").expect_err("no URL");
        assert!(lacking[0].contains("there is no url"), "{lacking:?}");
        assert!(parse_file("url = [\"s3://a/b\", \"s3://c/d\"]\n").is_err());
    }

    #[test]
    fn a_bare_name_is_no_stream() {
        let error = Spec::from_str("orders").expect_err("bare");
        assert!(error.contains("neither a URL"), "{error}");
        assert!(matches!(
            Spec::from_str("s3://b/p/"),
            Ok(Spec::Url(_, written)) if written == "s3://b/p/"
        ));
    }
}
