//! GTIDs and sets of them: MySQL's (untagged and tagged) and MariaDB's.
//!
//! Text is that of [`super::gtid_text`].

use super::intervals::{Intervals, IntervalsBuilder};
use super::tag::Tag;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
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

/// The largest sequence number MySQL gives out: GNO_END is 2^63-1 (`rpl_gtid.h`), and no GTID has it.
const MYSQL_NUMBER_MAX: u64 = i64::MAX as u64 - 1;

impl GtidSource {
    /// The sequence numbers that a GTID of this source can have. Whoever reads GTIDs, from text or from events, takes
    /// these and no others: so what was read in one form can be read in the other.
    pub fn numbers(&self) -> RangeInclusive<u64> {
        match self {
            GtidSource::MySql { .. } => 1..=MYSQL_NUMBER_MAX,
            // `gtid_seq_no` may be set to any (MariaDB, `sql/sys_vars.cc`).
            GtidSource::MariaDb { .. } => 0..=u64::MAX,
        }
    }
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
            match self.0.get_mut(source) {
                Some(own) => own.union_with(intervals),
                None => {
                    self.0.insert(source.clone(), intervals.clone());
                }
            }
        }
    }

    /// What is in both.
    #[must_use]
    pub fn common(&self, other: &GtidSet) -> GtidSet {
        self.minus(&self.minus(other))
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
        self.0
            .values()
            .map(Intervals::count)
            .fold(0, u64::saturating_add)
    }

    /// The sources with their intervals, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&GtidSource, &Intervals)> {
        self.0.iter()
    }

    /// Its GTIDs, one by one.
    pub fn each(&self) -> impl Iterator<Item = Gtid> {
        self.0.iter().flat_map(|(source, intervals)| {
            let numbers = intervals.0.iter().flat_map(|&(first, last)| first..=last);
            numbers.map(move |number| Gtid {
                source: source.clone(),
                number,
            })
        })
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

    /// For each source all numbers from its smallest to its largest: longer than the set, and never longer as text.
    #[must_use]
    pub fn into_hull(mut self) -> GtidSet {
        for intervals in self.0.values_mut() {
            if let (Some(&(first, _)), Some(last)) = (intervals.0.first(), intervals.last()) {
                *intervals = Intervals(vec![(first, last)]);
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

/// GTIDs in any order, which become a [`GtidSet`]. Many that come out of order cost far less here than by
/// [`GtidSet::insert`], which keeps the set in order all the time.
#[derive(Clone, Debug, Default)]
pub struct GtidSetBuilder(BTreeMap<GtidSource, IntervalsBuilder>);

impl GtidSetBuilder {
    /// Adds one GTID.
    pub fn insert(&mut self, gtid: &Gtid) {
        self.insert_run(&gtid.source, gtid.number, gtid.number);
    }

    /// Adds the numbers `first` to `last`, both inclusive. An empty run adds nothing.
    pub fn insert_run(&mut self, source: &GtidSource, first: u64, last: u64) {
        if first > last {
            return;
        }
        match self.0.get_mut(source) {
            Some(runs) => runs.insert(first, last),
            None => self
                .0
                .entry(source.clone())
                .or_default()
                .insert(first, last),
        }
    }

    /// The set.
    pub fn finish(self) -> GtidSet {
        let sources = self.0.into_iter();
        GtidSet(
            sources
                .map(|(source, runs)| (source, runs.finish()))
                .collect(),
        )
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
            &format!("{U}:blue:9223372036854775807"),
            &format!("{U}:blue"),
            &format!("{U}:blue:red:1"),
            &format!("{U}:1:blue"),
            &format!("{U}:1:blue:"),
            "0-1-18446744073709551616",
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

    #[test]
    fn the_largest_number_of_each_kind_is_carried_and_counted() {
        let text = format!("{U}:9223372036854775806:blue:9223372036854775806");
        assert_eq!(set(&text).to_string(), text);
        let text = "0-1-0..18446744073709551615,0-2-18446744073709551615";
        assert_eq!(set(text).to_string(), text);
        assert_eq!(set(text).count(), u64::MAX);
        assert_eq!(
            set(text).minus(&set("0-1-1")).to_string(),
            "0-1-0,0-1-2..18446744073709551615,0-2-18446744073709551615"
        );
    }

    #[test]
    fn a_text_of_200_000_descending_runs_is_the_set_of_the_ascending_ones() {
        let runs = |numbers: &mut dyn Iterator<Item = u64>| {
            numbers.fold(U.to_owned(), |text, n| text + &format!(":{n}"))
        };
        let ascending = runs(&mut (0..200_000).map(|n| 2 * n + 1));
        let descending = runs(&mut (0..200_000).rev().map(|n| 2 * n + 1));
        assert_eq!(set(&descending), set(&ascending));
        assert_eq!(set(&descending).to_string(), ascending);
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
