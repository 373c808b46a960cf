//! A small archive made by hand: synthetic segments in a memory store, with a true chain of ledger records.

use age::secrecy::ExposeSecret as _;
use async_trait::async_trait;
use binlogfs::binlog::{Flavour, SegmentIndex};
use binlogfs::cache::ArchivedSegment;
use binlogfs::fs::{
    History, HistoryRow, HistorySource, MountOptions, Options, Ownership, Refreshed, SourceError,
};
use binlogfs::ledger::entry::Change;
use binlogfs::ledger::record::{
    ClosedBy, DamagedRecord, HoleRecord, ObjectRecord, PruneRecord, SupersedeReason,
    SupersedeRecord,
};
use binlogfs::ledger::{
    Body, Entry, LedgerState, Line, Record, SegmentRecord, StreamFile, record_key,
};
use binlogfs::model::{
    FileName, GtidSet, Incarnation, Micros, MountName, ObjectKey, Seq, Sha256, Timeline,
};
use binlogfs::segment::{FrameCompressor, Identities, KeyPair, ObjectWriter, Recipients, keygen};
use binlogfs::store::{MemoryStore, SharedStore, Store as _};
use bytes::Bytes;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Frame size of most tests: the smallest, so that small files have many frames.
pub const FRAME: u32 = 4096;

/// An archive that tests add to and read.
pub struct Archive {
    /// Where its objects are.
    pub store: MemoryStore,
    state: Mutex<State>,
    keys: Option<KeyPair>,
}

struct State {
    chain: LedgerState,
    entries: Vec<Entry>,
    changed: Option<Refreshed>,
    broken: Option<String>,
}

/// What a test's segment is like.
#[derive(Clone)]
pub struct Segment {
    pub timeline: u32,
    pub incarnation: u32,
    pub file: String,
    pub bytes: Vec<u8>,
    pub frame_size: u32,
    pub first_bad_position: Option<u64>,
    pub gtids: String,
}

impl Segment {
    /// A segment of the first timeline.
    pub fn new(number: u64, bytes: Vec<u8>) -> Segment {
        Segment {
            timeline: 1,
            incarnation: 1,
            file: format!("binlog.{number:06}"),
            bytes,
            frame_size: FRAME,
            first_bad_position: None,
            gtids: format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{number}"),
        }
    }
}

/// `len` bytes that compress a little and repeat nowhere: a frame in the place of another is seen.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&(state as u32).to_le_bytes());
        bytes.extend_from_slice(b"binlog..");
    }
    bytes.truncate(len);
    bytes
}

impl Archive {
    /// An empty archive, encrypted or not.
    pub fn new(encrypted: bool) -> Arc<Archive> {
        let stream = StreamFile {
            format: 1,
            stream_id: uuid::Uuid::from_u128(7),
            flavour: Flavour::MySql,
            basename: "binlog".parse().expect("valid"),
            created_at: Micros(0),
        };
        let store = MemoryStore::new();
        store.tamper(&StreamFile::key(), stream.write());
        Arc::new(Archive {
            store,
            state: Mutex::new(State {
                chain: LedgerState::new(&stream, &stream.write()),
                entries: Vec::new(),
                changed: None,
                broken: None,
            }),
            keys: encrypted.then(keygen),
        })
    }

    /// The private keys that open it.
    pub fn identities(&self) -> Identities {
        match &self.keys {
            Some(pair) => {
                Identities::parse("key", pair.identity_file().expose_secret()).expect("a key file")
            }
            None => Identities::none(),
        }
    }

    /// The file with the private keys, as `--identity` reads it.
    pub fn identity_file(&self) -> String {
        let pair = self.keys.as_ref().expect("it is encrypted");
        pair.identity_file().expose_secret().to_owned()
    }

    /// Its store, to be shared or decorated.
    pub fn shared(&self) -> SharedStore {
        Arc::new(self.store.clone())
    }

    /// Archives a segment and returns its entry.
    pub async fn add(&self, segment: &Segment) -> Entry {
        let record = self.upload(segment).await;
        self.append(Body::Segment(Box::new(record)), Refreshed::Appended)
    }

    /// Records a hole of the first timeline.
    pub fn add_hole(&self, number: u64) -> Entry {
        let file: FileName = format!("binlog.{number:06}").parse().expect("valid");
        let hole = HoleRecord {
            timeline: Timeline(1),
            incarnation: Incarnation(1),
            number: file.number(),
            mount_name: MountName::of(&file, Incarnation(1), true, file.basename()),
            file,
            reason: "the server purged it".to_owned(),
            archived_at: Micros(0),
            archiver: "test".to_owned(),
        };
        self.append(Body::Hole(hole), Refreshed::Appended)
    }

    /// Replaces what `entry` stands for.
    pub async fn supersede(&self, entry: &Entry, segment: &Segment) {
        let record = SupersedeRecord {
            supersedes: entry.seq,
            reason: SupersedeReason::HoleFilled,
            made_at: None,
            made_by: None,
            segment: self.upload(segment).await,
        };
        self.append(Body::Supersede(Box::new(record)), Refreshed::Rewritten);
    }

    /// Takes away what stands before and at `through`. The bucket says so; an [`ArchiveSource`] does not.
    pub fn prune(&self, through: &Entry) {
        let prune = PruneRecord {
            timeline: through.timeline,
            through: through.seq,
            reason: "kept for a day".to_owned(),
            archived_at: Micros(0),
            archiver: "test".to_owned(),
        };
        let mut state = self.state.lock().expect("no test panics in here");
        let line = self.next_line(&state, Body::Prune(prune));
        state.chain.accept(&line).expect("follows");
    }

    /// Makes every refresh fail from now on, or no more.
    pub fn break_refresh(&self, error: Option<&str>) {
        self.state.lock().expect("no test panics in here").broken = error.map(str::to_owned);
    }

    fn append(&self, body: Body, changed: Refreshed) -> Entry {
        let mut state = self.state.lock().expect("no test panics in here");
        let line = self.next_line(&state, body);
        let entry = match state.chain.accept(&line).expect("follows") {
            Change::Add(entry) => {
                state.entries.push((*entry).clone());
                *entry
            }
            Change::Replace(seq, segment) => {
                let entry = state
                    .entries
                    .iter_mut()
                    .find(|entry| entry.seq == seq)
                    .expect("there");
                entry.state = segment.entry_state();
                entry.segment = Some(segment);
                entry.clone()
            }
            other => panic!("not made here: {other:?}"),
        };
        state.changed = match (state.changed, changed) {
            (Some(Refreshed::Rewritten), _) => Some(Refreshed::Rewritten),
            (_, changed) => Some(changed),
        };
        entry
    }

    /// The next record, which is in the bucket from now on.
    fn next_line(&self, state: &State, body: Body) -> Line {
        let record = Record {
            format: 1,
            seq: state.chain.next_seq(),
            prev: state.chain.last_hash.expect("nothing is lost here"),
            body,
        };
        let line = Line::write(record).expect("a record");
        self.store
            .tamper(&record_key(line.seq()), format!("{}\n", line.text()));
        line
    }

    async fn upload(&self, segment: &Segment) -> SegmentRecord {
        let public: Vec<String> = self.keys.iter().map(|pair| pair.public.clone()).collect();
        let recipients = Recipients::parse(&public).expect("keys");
        let mut compressor = FrameCompressor::new(3, segment.frame_size).expect("a compressor");
        let mut writer = ObjectWriter::new(&recipients, segment.frame_size).expect("a writer");
        for frame in segment.bytes.chunks(segment.frame_size as usize) {
            let stored = compressor.compress(frame).expect("compresses");
            writer.frame(&stored).expect("fits");
        }
        let mut object = writer.take_output().to_vec();
        let (rest, facts) = writer.finish(&SegmentIndex::default()).expect("finishes");
        object.extend_from_slice(&rest);
        let file: FileName = segment.file.parse().expect("a file name");
        let attempt = self.store.keys().len();
        let key: ObjectKey = format!("segments/{file}-{attempt:032x}.zst")
            .parse()
            .expect("a key");
        self.store
            .create(&key, Bytes::from(object))
            .await
            .expect("stores");
        let mut first_of_timeline = true;
        for entry in &self.state.lock().expect("no test panics in here").entries {
            if entry.timeline.0 == segment.timeline && entry.incarnation.0 < segment.incarnation {
                first_of_timeline = false;
            }
        }
        let incarnation = Incarnation(segment.incarnation);
        let basename = "binlog".parse().expect("valid");
        let time = Micros(1_700_000_000_000_000 + file.number().0 as i64 * 60_000_000);
        SegmentRecord {
            timeline: Timeline(segment.timeline),
            incarnation,
            branch: None,
            server_uuid: Some(uuid::Uuid::from_u128(1)),
            server_version: "9.7.4".to_owned(),
            number: file.number(),
            head: Sha256::of(&segment.bytes),
            mount_name: MountName::of(&file, incarnation, first_of_timeline, &basename),
            file,
            size: segment.bytes.len() as u64,
            sha256: Sha256::of(&segment.bytes),
            object: ObjectRecord {
                key,
                size: facts.size,
                crc32c: facts.crc32c,
                crc64nvme: facts.crc64nvme,
                header_size: facts.header_size,
                frame_size: facts.frame_size,
                tail_offset: facts.tail_offset,
                tail_sha256: facts.tail_sha256,
                recipients: recipients.to_strings(),
                header: None,
            },
            closed_by: ClosedBy::Rotate,
            whole_until: None,
            damaged: segment
                .first_bad_position
                .map(|first_bad_position| DamagedRecord {
                    first_bad_position,
                    reason: "event checksum".to_owned(),
                }),
            first_time: Some(time),
            last_time: Some(time),
            min_time: Some(time),
            max_time: Some(time),
            latest_commit: Some(time),
            gtids: segment.gtids.parse::<GtidSet>().expect("a set"),
            transactions: 1,
            previous_gtids: None,
            previous_gtids_sha256: None,
            single_writer: false,
            archived_at: time,
            archiver: "test".to_owned(),
        }
    }
}

/// The segment of an entry.
pub fn readable(entry: &Entry) -> ArchivedSegment {
    ArchivedSegment::of_entry(entry).expect("a segment")
}

/// The key of an entry's object.
pub fn key_of(entry: &Entry) -> ObjectKey {
    entry
        .segment
        .as_ref()
        .expect("a segment")
        .object
        .key
        .clone()
}

/// A source that gives what an [`Archive`] has.
pub struct ArchiveSource(pub Arc<Archive>);

#[async_trait]
impl HistorySource for ArchiveSource {
    async fn refresh(&self) -> Result<Refreshed, SourceError> {
        let mut state = self.0.state.lock().expect("no test panics in here");
        if let Some(error) = &state.broken {
            return Err(error.clone().into());
        }
        Ok(state.changed.take().unwrap_or(Refreshed::Unchanged))
    }

    fn extend(&self, history: &mut History) -> Result<(), SourceError> {
        let state = self.0.state.lock().expect("no test panics in here");
        for entry in &state.entries {
            if history.by_seq(entry.seq).is_none() {
                history.push(&HistoryRow::from(entry))?;
            }
        }
        Ok(())
    }

    fn entry(&self, seq: Seq) -> Result<Option<Entry>, SourceError> {
        let state = self.0.state.lock().expect("no test panics in here");
        Ok(state.entries.iter().find(|e| e.seq == seq).cloned())
    }
}

/// How a history in memory is mounted at `dir`: root's, to be read.
pub fn mount_options(dir: &Path, refresh: Duration) -> Options {
    Options {
        mount: MountOptions {
            target: dir.to_owned(),
            source: "memory:".to_owned(),
            allow_other: false,
            noexec: false,
        },
        ownership: Ownership {
            uid: 0,
            gid: 0,
            mode: 0o440,
        },
        refresh,
    }
}
