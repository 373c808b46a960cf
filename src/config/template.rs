//! Where streams go: a store URL with names in braces, such as `s3://{region}-binlogs/{tenant}/{cluster}`.

use crate::model::StoreUrl;
use std::str::FromStr;
use uuid::Uuid;

/// Longest name that becomes a part of a path: a label of a host name, and of every bucket name.
const PART_MAX_BYTES: usize = 63;

/// Names that a template may have in braces.
const KNOWN: [&str; 4] = ["tenant", "cluster", "region", SERVER_UUID];
/// The one that only the server knows.
const SERVER_UUID: &str = "server_uuid";

/// A template whose braces are in order and hold names that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

/// What stands for the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The tenant.
    pub tenant: Option<String>,
    /// The cluster.
    pub cluster: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The server's `server_uuid`.
    pub server_uuid: Option<Uuid>,
}

impl Names {
    fn get(&self, name: &str) -> Option<String> {
        match name {
            "tenant" => self.tenant.clone(),
            "cluster" => self.cluster.clone(),
            "region" => self.region.clone(),
            _ => self.server_uuid.map(|uuid| uuid.to_string()),
        }
    }
}

/// A piece of a template.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// Cuts `text` at its braces.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after
            .split_once('}')
            .ok_or("has a { without its }".to_owned())?;
        pieces.push(Piece::Text(before));
        pieces.push(Piece::Name(name));
        rest = behind;
    }
    pieces.push(Piece::Text(rest));
    let loose = |piece: &Piece<'_>| matches!(piece, Piece::Text(text) if text.contains('}'));
    match pieces.iter().any(loose) {
        true => Err("has a } without its {".to_owned()),
        false => Ok(pieces),
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Template, String> {
        for piece in pieces(text)? {
            if let Piece::Name(name) = piece
                && !KNOWN.contains(&name)
            {
                let shown: String = name.chars().take(30).collect();
                return Err(format!(
                    "has no {{{shown}}}; there are {{{}}}",
                    KNOWN.join("}, {")
                ));
            }
        }
        Ok(Template(text.to_owned()))
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Template {
    /// Whether only the server can tell where it leads.
    pub fn needs_server(&self) -> bool {
        self.0.contains(&format!("{{{SERVER_UUID}}}"))
    }

    /// The URL, with `names` in their places.
    ///
    /// # Errors
    /// A name that is not known, or what makes it no URL.
    pub fn fill(&self, names: &Names) -> Result<StoreUrl, String> {
        let mut text = String::new();
        for piece in pieces(&self.0)? {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Name(name) => {
                    let value = names.get(name).ok_or_else(|| match name {
                        SERVER_UUID => "has {server_uuid}, and no server_uuid is known yet: MySQL writes it to auto.cnf in its data directory when it is first started; MariaDB has none".to_owned(),
                        name => format!("has {{{name}}}, and no {name} is given; write {name} = \"...\""),
                    })?;
                    text.push_str(&value);
                }
            }
        }
        text.parse().map_err(|error| format!("{error}"))
    }
}

/// Reads a name that becomes a part of a path or of a bucket's name.
///
/// # Errors
/// What is wrong with it.
pub fn part(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let shown: String = text.chars().take(PART_MAX_BYTES).collect();
    match text {
        "" => Err("is empty".to_owned()),
        _ if text.len() > PART_MAX_BYTES => Err(format!(
            "{shown:?}... is longer than {PART_MAX_BYTES} characters"
        )),
        _ if text.starts_with(['.', '-']) => Err(format!(
            "{shown:?} begins with '.' or '-': it becomes a directory, and must not be hidden or look like an option"
        )),
        _ if !text.chars().all(plain) => Err(format!(
            "{shown:?} becomes a part of a path: only letters, digits and . _ - are allowed"
        )),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            tenant: Some("acme".to_owned()),
            cluster: Some("orders".to_owned()),
            region: Some("eu-west-1".to_owned()),
            server_uuid: None,
        }
    }

    fn fill(text: &str, names: &Names) -> Result<String, String> {
        let template: Template = text.parse()?;
        template.fill(names).map(|url| url.to_string())
    }

    #[test]
    fn every_name_is_put_in_its_place() {
        let filled = fill("s3://{region}-binlogs/{tenant}/{cluster}", &names());
        assert_eq!(filled.as_deref(), Ok("s3://eu-west-1-binlogs/acme/orders"));
        let mut known = names();
        known.server_uuid = Some(Uuid::from_u128(7));
        let filled = fill("gs://b/{tenant}/{server_uuid}", &known).expect("filled");
        assert_eq!(filled, format!("gs://b/acme/{}", Uuid::from_u128(7)));
        assert_eq!(
            fill("file:///srv/b", &Names::default()).as_deref(),
            Ok("file:///srv/b")
        );
    }

    #[test]
    fn a_template_that_leads_nowhere_says_why() {
        for (text, reason) in [
            ("s3://b/{tennant}", "there are {tenant}"),
            ("s3://b/{tenant", "a { without"),
            ("s3://b/tenant}", "a } without"),
            ("s3://b/{{tenant}}", "a } without"),
            ("s3://b/{server_uuid}", "auto.cnf"),
            ("ftp://b/{tenant}", "unknown scheme"),
            ("s3://{tenant}/../{cluster}", "'..'"),
        ] {
            let error = fill(text, &names()).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
        let error = fill("s3://b/{cluster}", &Names::default()).expect_err("refused");
        assert!(error.contains("write cluster = "), "{error}");
    }

    #[test]
    fn a_name_that_becomes_a_directory_can_be_nothing_else() {
        for right in ["a", "acme", "prod-1.eu_2", "9"] {
            assert_eq!(part(right).as_deref(), Ok(right));
        }
        for wrong in [
            "",
            ".",
            "..",
            ".hidden",
            "-rf",
            "a/b",
            "a b",
            "a\0",
            "ä",
            &"x".repeat(64),
        ] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
