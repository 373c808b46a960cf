//! Whether what a replica has is what the ledger says, and putting the right thing in the place of what is not.

use super::Replicator;
use super::copy::Object;
use crate::ledger::record::ObjectRecord;
use crate::ledger::{Line, LineError, RECORD_MAX_BYTES, record_key};
use crate::model::{ObjectKey, Seq};
use crate::store::{CopyError, ErrorKind, Source, prove_object};
use anyhow::Result;
use futures::StreamExt as _;

/// Requests in flight at a time.
const REQUESTS: usize = 16;
/// Objects of the index looked at at a time.
const KEYS_AT_ONCE: usize = 1000;

/// What is told of a record that is whole and not the first store's.
const ANOTHER: &str = "holds another record than the first store: something else wrote to one of the two. It is not removed: find out which \
     of the two histories counts ('binlogfs ls' of each), and remove the record by hand if that of the first store does";

/// What is told of what was removed, where the copy that was to take its place could not be made.
const REMOVED: &str =
    "; it was removed, and the right one could not be put in its place: the next run copies it";
/// The same of what was passed over; why is told after it.
const PASSED_OVER: &str = "; it was removed, and the right one could not be put in its place: ";
/// What is told of what nothing is read from any more.
const NOT_NEEDED: &str = "; it was removed, and nothing is read from it any more";

/// How a record in the replica differs from the first store's.
enum Difference {
    /// It is no record.
    Damage(String),
    /// It is a record, and another.
    Another,
}

/// Something in a replica that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Checked {
    /// The record that it is, or that names it.
    pub record: u64,
    /// Its key.
    pub key: String,
    /// What is wrong with it. Its key is not named again.
    pub detail: String,
    /// Whether nothing is wrong there any more: the right thing stands there, or nothing where nothing is needed.
    pub healed: bool,
    /// Whether it was removed, and nothing was put in its place.
    pub removed: bool,
}

impl Replicator {
    /// Compares every record that the replica has, and every object. An object is read where the store keeps no checksum of it. With
    /// `replace`, what is wrong is removed and copied again, once the first store has shown that it has the right bytes. What is
    /// missing is for [`Replicator::pass`]. A record that is whole, and another than the first store's, is never removed: nobody but a
    /// person knows which of two histories counts.
    ///
    /// # Errors
    /// When a store does not do what it is asked, or the replica is one of another stream. What was replaced until then is in `found`.
    pub async fn check(&mut self, replace: bool, found: &mut Vec<Checked>) -> Result<()> {
        if !self.is_begun().await? {
            return Ok(());
        }
        let last = self.stream.follow().await?.state.last_seq;
        let differing: Vec<_> = futures::stream::iter(1..=last.0)
            .map(|seq| self.record_differs(Seq(seq)))
            .buffered(REQUESTS)
            .filter_map(async |differs| differs.transpose())
            .collect()
            .await;
        for differs in differing {
            let (line, difference) = differs?;
            let (may_go, detail) = match difference {
                Difference::Damage(detail) => (replace, detail),
                Difference::Another => (false, ANOTHER.to_owned()),
            };
            let mut checked = Checked {
                record: line.seq().0,
                key: record_key(line.seq()).to_string(),
                detail,
                healed: false,
                removed: false,
            };
            let replaced = match may_go {
                true => self.replace_record(&line, &mut checked).await,
                false => Ok(()),
            };
            found.push(checked);
            replaced?;
        }
        self.check_objects(replace, found).await
    }

    async fn record_differs(&self, seq: Seq) -> Result<Option<(Line, Difference)>> {
        let Some(line) = self.index.record(seq)? else {
            return Ok(None);
        };
        let key = record_key(seq);
        let difference = match self.replica.get_all(&key, RECORD_MAX_BYTES).await {
            Ok(there) if there == line.stored() => return Ok(None),
            Ok(there) if is_another(&there, &line) => Difference::Another,
            Ok(_) => Difference::Damage("holds other bytes than the first store's".to_owned()),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) if is_damage(error.kind) => Difference::Damage(error.without_key()),
            Err(error) => return Err(error.into()),
        };
        Ok(Some((line, difference)))
    }

    /// Removes a record and creates it again. What `checked` says is true also where that fails.
    async fn replace_record(&self, line: &Line, checked: &mut Checked) -> Result<()> {
        self.replica.delete(&record_key(line.seq())).await?;
        checked.removed = true;
        match self.create(line).await {
            Ok(()) => (checked.healed, checked.removed) = (true, false),
            Err(error) => {
                checked.detail += REMOVED;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn check_objects(&mut self, replace: bool, found: &mut Vec<Checked>) -> Result<()> {
        let mut after: Option<ObjectKey> = None;
        loop {
            let named = self.index.object_keys(after.as_ref(), KEYS_AT_ONCE)?;
            let Some((last, _)) = named.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            let differing: Vec<_> = futures::stream::iter(named)
                .map(|(key, seq)| self.object_differs(seq, key))
                .buffered(REQUESTS)
                .filter_map(async |differs| differs.transpose())
                .collect()
                .await;
            for differs in differing {
                let (seq, object, detail) = differs?;
                let mut checked = Checked {
                    record: seq.0,
                    key: object.key.to_string(),
                    detail,
                    healed: false,
                    removed: false,
                };
                let replaced = match replace {
                    true => self.replace_object(seq, &object, &mut checked).await,
                    false => Ok(()),
                };
                found.push(checked);
                replaced?;
            }
        }
    }

    /// How the replica's object differs from what is recorded.
    async fn object_differs(
        &self,
        seq: Seq,
        key: ObjectKey,
    ) -> Result<Option<(Seq, ObjectRecord, String)>> {
        let line = self.index.record(seq)?;
        let object = line.as_ref().and_then(Line::object);
        let Some(object) = object.filter(|object| object.key == key) else {
            return Ok(None);
        };
        let (expected, object) = (object.checksums(), object.clone());
        let known = match self.replica.head(&key).await {
            Ok(known) => known,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if let Some(detail) = known.difference(&expected) {
            return Ok(Some((seq, object, detail)));
        }
        if known.crc32c.is_some() || known.crc64nvme.is_some() {
            return Ok(None);
        }
        let source = Source {
            store: &self.replica,
            key: &key,
            expected,
        };
        match prove_object(source).await {
            Ok(()) => Ok(None),
            Err(error @ CopyError::Differs { .. }) => Ok(Some((seq, object, error.without_key()))),
            Err(CopyError::Source(error)) if is_damage(error.kind) => {
                Ok(Some((seq, object, error.without_key())))
            }
            Err(CopyError::Source(error) | CopyError::Target(error)) => Err(error.into()),
        }
    }

    /// Removes an object and copies it again. Nothing is removed before the first store's bytes were read and are right. What `checked`
    /// says is true also where that fails.
    async fn replace_object(
        &mut self,
        seq: Seq,
        object: &ObjectRecord,
        checked: &mut Checked,
    ) -> Result<()> {
        let source = Source {
            store: self.stream.store(),
            key: &object.key,
            expected: object.checksums(),
        };
        if let Err(error) = prove_object(source).await {
            let why = error.without_key();
            checked.detail += &format!("; the first store did not give the right one: {why}");
            return Ok(());
        }
        self.replica.delete(&object.key).await?;
        checked.removed = true;
        match self.copy_object(seq, object).await {
            Ok(Object::PassedOver(why)) => {
                // A pass comes after the check, compares all, and books it.
                checked.detail += PASSED_OVER;
                checked.detail += &why;
                Ok(())
            }
            Ok(Object::NotNeeded) => {
                checked.healed = true;
                checked.detail += NOT_NEEDED;
                Ok(())
            }
            Ok(copied @ Object::There(_)) => {
                (checked.healed, checked.removed) = (true, false);
                self.book(seq, copied)
            }
            Err(error) => {
                checked.detail += REMOVED;
                Err(error)
            }
        }
    }
}

/// Whether what stands at the place of the record `own` is a whole record of that place, and another one.
pub(super) fn is_another(there: &[u8], own: &Line) -> bool {
    match Line::read(there) {
        Ok(line) => line.seq() == own.seq() && line.text() != own.text(),
        // What a newer version writes is no damage.
        Err(LineError::NewerFormat(_) | LineError::NewerKind(_)) => true,
        Err(_) => false,
    }
}

/// Whether an error of this kind says that the object itself is wrong.
fn is_damage(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Truncated | ErrorKind::TooLarge)
}
