//! Records whose objects are made anew: what is carried over of them, and how a copy of them is told from something else.

use crate::index::Index;
use crate::ledger::record::ObjectRecord;
use crate::ledger::{Body, Line, SegmentRecord};
use crate::model::{ObjectKey, Seq};
use crate::stream::Stream;
use crate::sync::anew::Anew;
use anyhow::{Context as _, Result};

/// How a record of the copy stands to that of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alike {
    /// They say the same.
    Same,
    /// They say the same of the same segment in another object.
    AnotherObject,
    /// They differ.
    No,
}

/// The record `seq` of the stream at `place`, which must be one that can be carried over.
pub(super) fn readable(index: &Index, place: &str, seq: Seq) -> Result<Line> {
    index.record(seq)?.with_context(|| {
        format!(
            "ledger record {seq} of {place} cannot be read, so it cannot be carried over; restore it from a copy of the bucket"
        )
    })
}

/// The same record, naming `object`.
pub(super) fn with_object(mut body: Body, object: ObjectRecord) -> Body {
    match &mut body {
        Body::Segment(segment) => segment.object = object,
        Body::Supersede(supersede) => supersede.segment.object = object,
        Body::Hole(_) | Body::Gap(_) | Body::Fence(_) | Body::Prune(_) | Body::Moved(_) => {}
    }
    body
}

fn alike(was: &Body, is: &Body) -> Alike {
    if was == is {
        return Alike::Same;
    }
    match was.described() {
        Some(segment) if *was == with_object(is.clone(), segment.object.clone()) => {
            Alike::AnotherObject
        }
        Some(_) | None => Alike::No,
    }
}

/// What the history reads from the object `key`, as the record in force describes it; `None` if it reads nothing from it: its segment was
/// pruned, or has another object now. What is behind a fence is read, too.
pub(super) fn in_force(index: &Index, seq: Seq, key: &ObjectKey) -> Result<Option<SegmentRecord>> {
    let Some(entry) = index.entry_by_seq(seq)? else {
        return Ok(None);
    };
    if index.is_pruned(entry.timeline, &entry.mount_name)? {
        return Ok(None);
    }
    let segment = entry.segment.map(|segment| *segment);
    Ok(segment.filter(|segment| segment.object.key == *key))
}

/// Why the record `is` of a copy is not what a run that makes objects as `order` says, or copies them, would have made of `was`.
pub(super) fn objection(
    from: &Stream,
    (seq, was, is): (Seq, &Body, &Body),
    order: Option<&Anew>,
) -> Result<Option<String>> {
    let objects = was.described().zip(is.described());
    Ok(match (alike(was, is), order, objects) {
        (Alike::Same, Some(_), Some((segment, _)))
            if in_force(from.index(), seq, &segment.object.key)?.is_some() =>
        {
            Some(
                "names an object that was copied as it is: that copy was begun without --recipient, --level and --allow-unencrypted; go on \
                 without them, or name another place"
                    .to_owned(),
            )
        }
        (Alike::Same, _, _) => None,
        (Alike::AnotherObject, None, _) => Some(
            "says the same of an object that was made anew: give the --recipient, --level or --allow-unencrypted with which that copy was \
             begun, or name another place"
                .to_owned(),
        ),
        (Alike::AnotherObject, Some(order), Some((_, new)))
            if !order.recipients.are(&new.object.recipients) =>
        {
            Some(format!(
                "names an object made for {}, and this run makes them for {}: a copy is for the same recipients from its first record to its \
                 last; give those, or name another place",
                whom(&new.object.recipients),
                whom(&order.recipients.to_strings())
            ))
        }
        (Alike::AnotherObject, Some(_), _) => None,
        (Alike::No, _, _) => Some(format!(
            "does not say what record {seq} of {} says: it is no copy, or something else is archived there",
            from.store().describe()
        )),
    })
}

fn whom(recipients: &[String]) -> String {
    match recipients {
        [] => "nobody (plaintext)".to_owned(),
        recipients => recipients.join(", "),
    }
}
