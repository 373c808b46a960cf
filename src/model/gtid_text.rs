//! The text of GTIDs and of sets of them, read.
//!
//! It follows MySQL's own ("GTID Sets", MySQL Reference Manual 19.1.3.1):
//! `uuid:1-5:7:tag:1-3,uuid:1`. MariaDB has no notation for sets, so a run of sequence numbers of one domain and one
//! server is written `domain-server-first..last`, and a single one as MariaDB writes it, `domain-server-seq`.

use super::gtid::{Gtid, GtidSet, GtidSetBuilder, GtidSource};
use super::tag::Tag;
use std::str::FromStr;
use uuid::Uuid;

/// Text that is neither a GTID nor a set of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {reason}")]
pub struct ParseGtidError {
    text: String,
    reason: &'static str,
}

impl ParseGtidError {
    pub(super) fn new(text: &str, reason: &'static str) -> ParseGtidError {
        ParseGtidError {
            text: text.chars().take(100).collect(),
            reason,
        }
    }
}

impl FromStr for GtidSet {
    type Err = ParseGtidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut set = GtidSetBuilder::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            match part.split_once(':') {
                Some((uuid, rest)) => parse_mysql(&mut set, part, uuid, rest)?,
                None => parse_mariadb(&mut set, part)?,
            }
        }
        Ok(set.finish())
    }
}

fn parse_mysql(
    set: &mut GtidSetBuilder,
    part: &str,
    uuid: &str,
    rest: &str,
) -> Result<(), ParseGtidError> {
    let uuid = Uuid::try_parse(uuid.trim())
        .map_err(|_| ParseGtidError::new(part, "does not begin with a UUID"))?;
    let with_tag = |tag| GtidSource::MySql { uuid, tag };
    let without_numbers = || Err(ParseGtidError::new(part, "has a tag without numbers"));
    let mut source = with_tag(Tag::none());
    let mut tag_is_last = false;
    for item in rest.split(':').map(str::trim) {
        if item.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            if tag_is_last {
                return without_numbers();
            }
            source = with_tag(item.parse()?);
            tag_is_last = true;
        } else {
            let ends = item.split_once('-').unwrap_or((item, item));
            insert_interval(set, part, &source, ends)?;
            tag_is_last = false;
        }
    }
    if tag_is_last {
        return without_numbers();
    }
    Ok(())
}

fn parse_mariadb(set: &mut GtidSetBuilder, part: &str) -> Result<(), ParseGtidError> {
    let mut fields = part.splitn(3, '-');
    let (Some(domain), Some(server), Some(numbers)) = (fields.next(), fields.next(), fields.next())
    else {
        return Err(ParseGtidError::new(
            part,
            "is neither uuid:number nor domain-server-number",
        ));
    };
    let small = |text: &str| {
        u32::try_from(number(part, text)?)
            .map_err(|_| ParseGtidError::new(part, "has an id over 2^32-1"))
    };
    let source = GtidSource::MariaDb {
        domain: small(domain)?,
        server: small(server)?,
    };
    insert_interval(
        set,
        part,
        &source,
        numbers.split_once("..").unwrap_or((numbers, numbers)),
    )
}

fn insert_interval(
    set: &mut GtidSetBuilder,
    part: &str,
    source: &GtidSource,
    (first, last): (&str, &str),
) -> Result<(), ParseGtidError> {
    let (first, last) = (number(part, first)?, number(part, last)?);
    let legal = source.numbers();
    if last < first || !legal.contains(&first) || !legal.contains(&last) {
        let reason = "has an interval no server writes";
        return Err(ParseGtidError::new(part, reason));
    }
    set.insert_run(source, first, last);
    Ok(())
}

fn number(part: &str, text: &str) -> Result<u64, ParseGtidError> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseGtidError::new(
            part,
            "has something where a number belongs",
        ));
    }
    text.parse()
        .map_err(|_| ParseGtidError::new(part, "has a number out of range"))
}

impl FromStr for Gtid {
    type Err = ParseGtidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let set: GtidSet = text.parse()?;
        let mut found = set.iter();
        match (found.next(), found.next()) {
            (Some((source, intervals)), None) if intervals.count() == 1 => Ok(Gtid {
                source: source.clone(),
                number: intervals.runs()[0].0,
            }),
            _ => Err(ParseGtidError::new(text, "is not exactly one GTID")),
        }
    }
}
