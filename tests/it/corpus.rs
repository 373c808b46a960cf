//! Real binlogs of every kind, as they lie in a server's data directory: made once, shared by the tests.
//!
//! Each snapshot is a directory with a binlog index file, every file it lists, the active one too, and the server's
//! auto.cnf. Tests that change anything work on a copy ([`Snapshot::copy_to`]).

mod making;

use crate::mysql;
use crate::tools;
use std::fs;
use std::path::{Path, PathBuf};

/// Change when what is made changes: every cache then makes it anew.
const VERSION: u32 = 1;

/// A server's binlogs at one moment.
pub struct Snapshot {
    /// Where its files are.
    pub dir: PathBuf,
}

/// Snapshots that come from one server, oldest first, and what makes them: it is given the directory to fill.
struct Kind {
    snapshots: &'static [&'static str],
    make: fn(&Path),
}

const KINDS: &[Kind] = &[
    Kind {
        snapshots: &["row"],
        make: making::row,
    },
    Kind {
        snapshots: &["payload"],
        make: making::payload,
    },
    Kind {
        snapshots: &["tagged"],
        make: making::tagged,
    },
    Kind {
        snapshots: &["nochecksum"],
        make: making::nochecksum,
    },
    Kind {
        snapshots: &["gtidoff"],
        make: making::gtidoff,
    },
    Kind {
        snapshots: &["statement"],
        make: making::statement,
    },
    Kind {
        snapshots: &["mixed"],
        make: making::mixed,
    },
    Kind {
        snapshots: &["xa"],
        make: making::xa,
    },
    Kind {
        snapshots: &["crash"],
        make: making::crash,
    },
    Kind {
        snapshots: &["crash-empty"],
        make: making::crash_empty,
    },
    Kind {
        snapshots: &["dead"],
        make: making::dead,
    },
    Kind {
        snapshots: &["stopped"],
        make: making::stopped,
    },
    Kind {
        snapshots: &["reset/before", "reset/after"],
        make: making::reset,
    },
    Kind {
        snapshots: &["reset-to/before", "reset-to/after"],
        make: making::reset_to,
    },
    Kind {
        snapshots: &["time-backwards"],
        make: making::time_backwards,
    },
    Kind {
        snapshots: &["blobs"],
        make: making::blobs,
    },
    Kind {
        snapshots: &["ddl"],
        make: making::ddl,
    },
    Kind {
        snapshots: &["holes"],
        make: making::holes,
    },
    Kind {
        snapshots: &["tiny"],
        make: making::tiny,
    },
];

/// The snapshot of that name, made now if it is not in the cache. Panics if there is no such snapshot.
pub fn snapshot(name: &str) -> Snapshot {
    for kind in KINDS {
        if let Some(name) = kind.snapshots.iter().find(|known| **known == name) {
            return kind.snapshot(name);
        }
    }
    panic!("the corpus has no {name:?}");
}

/// The names of all snapshots.
pub fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|kind| kind.snapshots.iter().copied())
}

impl Kind {
    fn snapshot(&self, name: &'static str) -> Snapshot {
        // A kind with several snapshots has a directory of its own, the first part of their names.
        let kind = name
            .split('/')
            .next()
            .expect("split gives at least one part");
        let corpus = tools::cache_dir().join(format!("corpus-{VERSION}"));
        tools::make_once(&corpus.join(kind), self.make);
        let dir = corpus.join(name);
        Snapshot { dir }
    }
}

impl Snapshot {
    /// The binlog index file.
    pub fn index_file(&self) -> PathBuf {
        self.dir.join("binlog.index")
    }

    /// Every file the index file lists, in order; the last one was active (in `stopped`, the last one there was).
    pub fn files(&self) -> Vec<PathBuf> {
        mysql::listed_in(&self.index_file(), &self.dir)
    }

    /// The files that have a successor.
    pub fn closed(&self) -> Vec<PathBuf> {
        let mut files = self.files();
        files.pop();
        files
    }

    /// The server's UUID.
    pub fn server_uuid(&self) -> String {
        mysql::server_uuid(&self.dir.join("auto.cnf"))
    }

    /// Copies it into the existing directory `dir`, over what has the same name there.
    pub fn copy_to(&self, dir: &Path) {
        for entry in fs::read_dir(&self.dir).expect("a snapshot can be read") {
            let entry = entry.expect("a snapshot can be read");
            fs::copy(entry.path(), dir.join(entry.file_name())).expect("the target is writable");
        }
    }
}

#[test]
fn every_snapshot_has_closed_files_and_an_active_one() {
    for name in names() {
        let snapshot = snapshot(name);
        assert!(!snapshot.closed().is_empty(), "{name}");
        for file in snapshot.files() {
            let length = fs::metadata(&file)
                .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
                .len();
            assert!(length > 100, "{}: {length} bytes", file.display());
        }
        assert_eq!(snapshot.server_uuid().len(), 36, "{name}");
    }
}

#[test]
fn a_reset_repeats_names_and_gtids_of_the_same_server() {
    let (before, after) = (snapshot("reset/before"), snapshot("reset/after"));
    assert_eq!(before.server_uuid(), after.server_uuid());
    let first = |snapshot: &Snapshot| fs::read(&snapshot.files()[0]).unwrap();
    assert_eq!(before.files()[0].file_name(), after.files()[0].file_name());
    assert_ne!(first(&before), first(&after));
}

#[test]
fn numbers_roll_over_from_six_to_seven_digits() {
    let files = snapshot("reset-to/after").files();
    let names: Vec<_> = files
        .iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "binlog.999998",
            "binlog.999999",
            "binlog.1000000",
            "binlog.1000001"
        ]
    );
}
