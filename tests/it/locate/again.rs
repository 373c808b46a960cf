//! A part of the history that is asked for again.

use super::opened;
use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use binlogfs::binlog::testing::mysql_gtid;
use binlogfs::fs::view::View;
use binlogfs::fs::{History, HistorySource, Ownership, StreamSource};
use binlogfs::model::Micros;
use binlogfs::store::SharedStore;
use binlogfs::stream::Stream;
use std::ffi::OsStr;
use std::sync::Arc;

/// The root, as the kernel names it.
const ROOT_INO: u64 = 1;
const OWNERSHIP: Ownership = Ownership {
    uid: 0,
    gid: 0,
    mode: 0o440,
};

/// The inode of `name` in the directory `parent`.
async fn asked(view: &View, parent: u64, name: &str) -> Result<u64, i32> {
    let found = view.lookup_made(parent, OsStr::new(name)).await;
    found.map(|attr| attr.ino)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_was_found_is_there_again_without_index_or_store_until_the_history_is_another()
{
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..2).for_each(|_| server.rotate(5, 200));
    archive.archive(server.dir());
    let (index, reader, recording) = opened(&archive).await;
    let store: SharedStore = recording.clone();
    let stream = Stream::open(store, Arc::clone(&index)).await;
    let source = Arc::new(StreamSource::new(Arc::new(stream.expect("a stream"))));
    let mut history = History::default();
    source.extend(&mut history).expect("reads");
    let another = history.clone();
    let view = View::new(source, reader, history, OWNERSHIP);

    let hidden = |name: &str| {
        let found = view.lookup(ROOT_INO, OsStr::new(name));
        found.expect("there").ino
    };
    // See `SyntheticServer`: the second transaction was committed three seconds after its first server was born.
    let second = Micros(1_700_000_003 * 1_000_000 + 123).to_string();
    let (third, eighth) = (mysql_gtid(1, 3).to_string(), mysql_gtid(1, 8).to_string());
    let from = asked(&view, hidden(".range"), &third).await;
    let parts = [
        (hidden(".at"), second),
        (hidden(".before"), third.clone()),
        (hidden(".range"), third),
        (from.expect("there"), eighth),
    ];
    let mut found = Vec::new();
    for (parent, name) in &parts {
        let part = asked(&view, *parent, name).await;
        found.push(part.unwrap_or_else(|errno| panic!("{name}: {errno}")));
    }
    // From now on nothing can be found.
    index.reset().expect("forgets");
    recording.reset();
    for ((parent, name), part) in parts.iter().zip(&found) {
        assert_eq!(asked(&view, *parent, name).await, Ok(*part), "{name}");
    }
    assert!(recording.calls().is_empty(), "{:?}", recording.calls());
    view.show(another);
    for (parent, name) in &parts {
        let again = asked(&view, *parent, name).await;
        assert!(again.is_err(), "{name} was not looked for");
    }
}
