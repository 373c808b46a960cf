//! A record out of its JSON.

use super::record::{Body, Record};
use crate::model::{Seq, Sha256};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use std::borrow::Cow;
use std::fmt;

/// The kinds of records.
pub(super) const KINDS: [&str; 7] = [
    "segment",
    "hole",
    "gap",
    "fence",
    "supersede",
    "prune",
    "moved",
];

/// What all records begin with.
#[derive(Deserialize)]
struct Head<'a> {
    format: u32,
    seq: Seq,
    prev: Sha256,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// The keys of [`Head`].
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum HeadKey {
    Format,
    Seq,
    Prev,
    Kind,
    #[serde(other)]
    Other,
}

/// Reads a record whose head stands first, as we write it.
struct HeadFirst;

impl<'de> Visitor<'de> for HeadFirst {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record that begins with its head")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Record, M::Error> {
        let (mut format, mut seq, mut prev) = (None, None, None);
        loop {
            match map.next_key()? {
                Some(HeadKey::Format) => format = Some(map.next_value()?),
                Some(HeadKey::Seq) => seq = Some(map.next_value()?),
                Some(HeadKey::Prev) => prev = Some(map.next_value()?),
                Some(HeadKey::Kind) => break,
                Some(HeadKey::Other) | None => {
                    return Err(M::Error::custom("its head is not first"));
                }
            }
        }
        let kind: Cow<'de, str> = map.next_value()?;
        let (Some(format), Some(seq), Some(prev)) = (format, seq, prev) else {
            return Err(M::Error::custom("its head is not first"));
        };
        let rest = MapAccessDeserializer::new(map);
        let body = match &*kind {
            "segment" => Body::Segment(Deserialize::deserialize(rest)?),
            "hole" => Body::Hole(Deserialize::deserialize(rest)?),
            _ => return Err(M::Error::custom("it is of a rare kind")),
        };
        Ok(Record {
            format,
            seq,
            prev,
            body,
        })
    }
}

impl Record {
    /// Reads a record's JSON. The same as its `Deserialize`, without the copy of all values that an inner tag needs, and mostly
    /// in one pass: a million of them are read by a first mount.
    pub(super) fn read(json: &str) -> Result<Record, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(json);
        match reader.deserialize_map(HeadFirst) {
            Ok(record) if reader.end().is_ok() => Ok(record),
            // Whatever is wrong with it is told by the way that takes all.
            _ => Record::read_twice(json),
        }
    }

    /// Reads what all records have, and then what its kind has.
    fn read_twice(json: &str) -> Result<Record, serde_json::Error> {
        let head: Head<'_> = serde_json::from_str(json)?;
        let body = match &*head.kind {
            "segment" => Body::Segment(serde_json::from_str(json)?),
            "hole" => Body::Hole(serde_json::from_str(json)?),
            "gap" => Body::Gap(serde_json::from_str(json)?),
            "fence" => Body::Fence(serde_json::from_str(json)?),
            "supersede" => Body::Supersede(serde_json::from_str(json)?),
            "prune" => Body::Prune(serde_json::from_str(json)?),
            "moved" => Body::Moved(serde_json::from_str(json)?),
            other => {
                let reason = format!("it is of the unknown kind {other:?}");
                return Err(serde::de::Error::custom(reason));
            }
        };
        Ok(Record {
            format: head.format,
            seq: head.seq,
            prev: head.prev,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::SupersedeReason;
    use super::super::testing;
    use super::*;
    use serde_json::{Value, json};

    fn records() -> impl Iterator<Item = Record> {
        let bodies = [
            Body::Segment(Box::new(testing::segment(1))),
            Body::Segment(Box::new(testing::segment(2))),
            Body::Hole(testing::hole(2)),
            Body::Gap(testing::gap(2, 2)),
            Body::Supersede(Box::new(testing::supersede(
                2,
                2,
                SupersedeReason::HoleFilled,
            ))),
            Body::Fence(testing::fence(1, u64::MAX)),
            Body::Prune(testing::prune(1)),
            Body::Moved(testing::moved_to()),
        ];
        bodies.into_iter().map(|body| Record {
            format: 1,
            seq: Seq(7),
            prev: Sha256([3; 32]),
            body,
        })
    }

    #[test]
    fn every_kind_is_read_as_its_derived_form_reads_it() {
        for record in records() {
            let json = serde_json::to_string(&record).expect("plain values");
            assert_eq!(Record::read(&json).expect("reads"), record);
            assert_eq!(Record::read_twice(&json).expect("reads"), record);
            let derived: Record = serde_json::from_str(&json).expect("reads");
            assert_eq!(derived, record);
        }
    }

    #[test]
    fn segments_as_we_write_them_are_read_in_one_pass() {
        let json = serde_json::to_string(&records().next()).expect("plain values");
        let mut reader = serde_json::Deserializer::from_str(&json);
        assert!(reader.deserialize_map(HeadFirst).is_ok());
    }

    /// Values of a map come sorted by key, so that the head stands anywhere.
    #[test]
    fn the_order_of_keys_does_not_matter() {
        for record in records() {
            let sorted = serde_json::to_value(&record).expect("plain values");
            let sorted: std::collections::BTreeMap<String, Value> =
                serde_json::from_value(sorted).expect("an object");
            let json = serde_json::to_string(&sorted).expect("plain values");
            assert_eq!(Record::read(&json).expect("reads"), record);
        }
    }

    #[test]
    fn what_is_no_record_is_refused_for_the_same_reason_either_way() {
        let good = serde_json::to_value(records().next()).expect("plain values");
        let with = |key: &str, value: Value| {
            let mut changed = good.clone();
            changed[key] = value;
            changed.to_string()
        };
        for json in [
            with("format", json!(-1)),
            with("seq", json!("x")),
            with("prev", json!("00")),
            with("kind", json!("novel")),
            with("number", json!(null)),
            format!("{good} x"),
            format!("{good}{good}"),
            "[]".to_owned(),
            String::new(),
        ] {
            let (once, twice) = (Record::read(&json), Record::read_twice(&json));
            let reasons = (
                once.map_err(|e| e.to_string()),
                twice.map_err(|e| e.to_string()),
            );
            assert!(reasons.0.is_err(), "{json}");
            assert_eq!(reasons.0, reasons.1);
        }
    }
}
