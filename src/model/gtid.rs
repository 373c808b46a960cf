//! GTIDs and sets of them: MySQL's (untagged and tagged) and MariaDB's.
//!
//! Text follows MySQL's own ("GTID Sets", MySQL Reference Manual 19.1.3.1):
//! `uuid:1-5:7:tag:1-3,uuid:1`. MariaDB has no notation for sets, so a run of sequence numbers of one domain and one
//! server is written `domain-server-first..last`, and a single one as MariaDB writes it, `domain-server-seq`.

use super::intervals::Intervals;
use super::tag::Tag;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Where a run of sequence numbers belongs: who counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GtidSource {
    /// MySQL: a server's UUID and a tag.
    MySql {
        /// The originating server's `server_uuid`.
        uuid: Uuid,
        /// The tag, often empty.
        tag: Tag,
    },
    /// MariaDB: a replication domain and the originating server.
    MariaDb {
        /// `gtid_domain_id`.
        domain: u32,
        /// `server_id` of the origin.
        server: u32,
    },
}

/// One transaction's global identifier.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Gtid {
    /// Who counted.
    pub source: GtidSource,
    /// The sequence number: from 1 in MySQL; MariaDB allows 0.
    pub number: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            GtidSource::MySql { uuid, tag } if tag.0.is_empty() => {
                write!(f, "{uuid}:{}", self.number)
            }
            GtidSource::MySql { uuid, tag } => write!(f, "{uuid}:{}:{}", tag.0, self.number),
            GtidSource::MariaDb { domain, server } => {
                write!(f, "{domain}-{server}-{}", self.number)
            }
        }
    }
}

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

/// A set of GTIDs: intervals for each source, holes and all.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct GtidSet(BTreeMap<GtidSource, Intervals>);

impl GtidSet {
    /// The empty set.
    pub fn new() -> GtidSet {
        GtidSet::default()
    }

    /// Adds one GTID.
    pub fn insert(&mut self, gtid: &Gtid) {
        match self.0.get_mut(&gtid.source) {
            Some(intervals) => intervals.insert(gtid.number, gtid.number),
            None => self.insert_run(gtid.source.clone(), gtid.number, gtid.number),
        }
    }

    /// Adds the numbers `first` to `last`, both inclusive. An empty run adds nothing.
    pub fn insert_run(&mut self, source: GtidSource, first: u64, last: u64) {
        if first <= last {
            self.0.entry(source).or_default().insert(first, last);
        }
    }

    /// Adds every GTID of `other`.
    pub fn union_with(&mut self, other: &GtidSet) {
        for (source, intervals) in &other.0 {
            for &(first, last) in &intervals.0 {
                self.insert_run(source.clone(), first, last);
            }
        }
    }

    /// What is in `self` and not in `other`.
    pub fn minus(&self, other: &GtidSet) -> GtidSet {
        let difference = self.0.iter().filter_map(|(source, intervals)| {
            let left = match other.0.get(source) {
                Some(cut) => intervals.minus(cut),
                None => intervals.clone(),
            };
            (!left.0.is_empty()).then(|| (source.clone(), left))
        });
        GtidSet(difference.collect())
    }

    /// Whether `gtid` is in the set.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        self.0
            .get(&gtid.source)
            .is_some_and(|intervals| intervals.contains_run(gtid.number, gtid.number))
    }

    /// Whether every GTID of `self` is in `other`.
    pub fn is_subset(&self, other: &GtidSet) -> bool {
        self.0.iter().all(|(source, intervals)| {
            other.0.get(source).is_some_and(|all| {
                intervals
                    .0
                    .iter()
                    .all(|&(first, last)| all.contains_run(first, last))
            })
        })
    }

    /// Whether the two share a GTID.
    pub fn intersects(&self, other: &GtidSet) -> bool {
        self.0.iter().any(|(source, intervals)| {
            other
                .0
                .get(source)
                .is_some_and(|others| intervals.intersects(others))
        })
    }

    /// Whether it has no GTID.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many GTIDs it has.
    pub fn count(&self) -> u64 {
        self.0.values().map(Intervals::count).sum()
    }

    /// The sources with their intervals, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&GtidSource, &Intervals)> {
        self.0.iter()
    }

    /// The set as a position says it: MariaDB's servers tell only the last sequence number of each (domain, server), so
    /// those sources are filled from 1 to it. MySQL's sets are exact and stay as they are.
    #[must_use]
    pub fn into_position_form(mut self) -> GtidSet {
        for (source, intervals) in &mut self.0 {
            if let (GtidSource::MariaDb { .. }, Some(last)) = (source, intervals.last()) {
                *intervals = Intervals(vec![(last.min(1), last)]);
            }
        }
        self
    }

    /// Whether any GTID is MariaDB's.
    pub fn has_mariadb(&self) -> bool {
        self.0
            .keys()
            .any(|source| matches!(source, GtidSource::MariaDb { .. }))
    }
}

impl Extend<Gtid> for GtidSet {
    fn extend<T: IntoIterator<Item = Gtid>>(&mut self, gtids: T) {
        gtids.into_iter().for_each(|gtid| self.insert(&gtid));
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last_uuid = None;
        for (source, intervals) in &self.0 {
            let comma = if last_uuid.is_none() { "" } else { "," };
            match source {
                GtidSource::MySql { uuid, tag } => {
                    if last_uuid != Some(Some(*uuid)) {
                        write!(f, "{comma}{uuid}")?;
                    }
                    if !tag.0.is_empty() {
                        write!(f, ":{}", tag.0)?;
                    }
                    for (first, last) in &intervals.0 {
                        write!(f, ":{first}")?;
                        if last > first {
                            write!(f, "-{last}")?;
                        }
                    }
                    last_uuid = Some(Some(*uuid));
                }
                GtidSource::MariaDb { domain, server } => {
                    for (n, (first, last)) in intervals.0.iter().enumerate() {
                        write!(
                            f,
                            "{}{domain}-{server}-{first}",
                            if n == 0 { comma } else { "," }
                        )?;
                        if last > first {
                            write!(f, "..{last}")?;
                        }
                    }
                    last_uuid = Some(None);
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

impl FromStr for GtidSet {
    type Err = ParseGtidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut set = GtidSet::new();
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
        Ok(set)
    }
}

fn parse_mysql(
    set: &mut GtidSet,
    part: &str,
    uuid: &str,
    rest: &str,
) -> Result<(), ParseGtidError> {
    let uuid = Uuid::try_parse(uuid.trim())
        .map_err(|_| ParseGtidError::new(part, "does not begin with a UUID"))?;
    let mut tag = Tag::none();
    for item in rest.split(':').map(str::trim) {
        if item.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            tag = item.parse()?;
            continue;
        }
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (number(part, first)?, number(part, last)?);
        // GNO_END is 2^63-1 (rpl_gtid.h): a larger number is no GTID.
        if first == 0 || last < first || last >= i64::MAX as u64 {
            return Err(ParseGtidError::new(
                part,
                "has an interval no server writes",
            ));
        }
        set.insert_run(
            GtidSource::MySql {
                uuid,
                tag: tag.clone(),
            },
            first,
            last,
        );
    }
    Ok(())
}

fn parse_mariadb(set: &mut GtidSet, part: &str) -> Result<(), ParseGtidError> {
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
    let (first, last) = numbers.split_once("..").unwrap_or((numbers, numbers));
    let (first, last) = (number(part, first)?, number(part, last)?);
    if last < first || last == u64::MAX {
        return Err(ParseGtidError::new(
            part,
            "has an interval no server writes",
        ));
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
        let mut found = set.0.into_iter();
        match (found.next(), found.next()) {
            (Some((source, intervals)), None) if intervals.count() == 1 => Ok(Gtid {
                source,
                number: intervals.0[0].0,
            }),
            _ => Err(ParseGtidError::new(text, "is not exactly one GTID")),
        }
    }
}

impl Serialize for GtidSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GtidSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::model::text::deserialize(deserializer)
    }
}

impl Serialize for Gtid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Gtid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::model::text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const U: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const V: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().expect(text)
    }

    #[test]
    fn text_is_mysqls_own() {
        let text = format!("{U}:1-5:7:blue:1-3:red:9,{V}:1");
        assert_eq!(set(&text).to_string(), text);
        assert_eq!(
            set(&format!("{V}:1,\n{U}:7:1-5:RED:9:blue:1-3")).to_string(),
            text
        );
    }

    #[test]
    fn mariadb_sets_keep_domains_and_servers_apart() {
        let text = "0-1-1..5,0-1-7,0-2-6,1-1-1";
        assert_eq!(set(text).to_string(), text);
        assert_eq!(set("0-1-7").iter().count(), 1);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for bad in [
            "x",
            ":1",
            &format!("{U}:0"),
            &format!("{U}:5-1"),
            &format!("{U}:1x"),
            &format!("{U}:"),
            &format!("{U}:9223372036854775807"),
            "0-1",
            "0-1-x",
            "5000000000-1-1",
            &format!("{U}:a b:1"),
        ] {
            assert!(bad.parse::<GtidSet>().is_err(), "{bad:?}");
        }
        assert!(format!("{U}:1-2").parse::<Gtid>().is_err());
        assert_eq!(
            format!("{U}:blue:2")
                .parse::<Gtid>()
                .expect("one")
                .to_string(),
            format!("{U}:blue:2")
        );
    }

    /// The reference: a plain set of numbers.
    fn plain(set: &GtidSet) -> std::collections::BTreeSet<u64> {
        set.iter()
            .flat_map(|(_, intervals)| intervals.runs().to_vec())
            .flat_map(|(first, last)| first..=last)
            .collect()
    }

    fn arbitrary_set() -> impl Strategy<Value = GtidSet> {
        proptest::collection::vec((1u64..60, 0u64..6), 0..12).prop_map(|runs| {
            let mut set = GtidSet::new();
            for (first, more) in runs {
                set.insert_run(
                    GtidSource::MariaDb {
                        domain: 0,
                        server: 1,
                    },
                    first,
                    first + more,
                );
            }
            set
        })
    }

    proptest! {
        #[test]
        fn set_algebra_equals_that_of_plain_sets(a in arbitrary_set(), b in arbitrary_set()) {
            let (pa, pb) = (plain(&a), plain(&b));
            let mut union = a.clone();
            union.union_with(&b);
            prop_assert_eq!(plain(&union), pa.union(&pb).copied().collect());
            prop_assert_eq!(plain(&a.minus(&b)), pa.difference(&pb).copied().collect());
            prop_assert_eq!(a.is_subset(&b), pa.is_subset(&pb));
            prop_assert_eq!(a.intersects(&b), !pa.is_disjoint(&pb));
            prop_assert_eq!(a.count(), pa.len() as u64);
            prop_assert_eq!(set(&a.to_string()), a);
        }
    }
}
