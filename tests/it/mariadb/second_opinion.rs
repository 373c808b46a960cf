//! Our scanner against mariadb-binlog, over every file of the MariaDB corpus.

use super::corpus;
use super::opinion::{self, Event, Opinion};
use super::position;
use crate::second_opinion::assert_same;
use binlogfs::binlog::{Ending, Flavour, Summary};
use binlogfs::model::Micros;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every file of the corpus, the active ones too.
fn corpus_files() -> impl Iterator<Item = PathBuf> {
    corpus::names().flat_map(|name| corpus::snapshot(name).files())
}

#[test]
fn our_scanner_sees_the_events_and_transactions_that_mariadb_binlog_sees() {
    for file in corpus_files() {
        let (ours, summary) = opinion::ours(&file);
        let theirs = opinion::theirs(&file);
        assert_same("event", &file, &ours.events, &theirs.events);
        assert_same(
            "transaction",
            &file,
            &ours.transactions,
            &theirs.transactions,
        );
        assert_eq!(ours.tables, theirs.tables, "{}", file.display());
        assert_summary_fits(&file, &summary, &theirs);
    }
}

/// What the summary says in numbers follows from what mariadb-binlog lists.
fn assert_summary_fits(file: &Path, summary: &Summary, theirs: &Opinion) {
    let at = file.display();
    let size = std::fs::metadata(file).expect("readable").len();
    assert_eq!(summary.damage, None, "{at}");
    assert_eq!(summary.flavour, Some(Flavour::MariaDb), "{at}");
    assert_eq!(
        (summary.size, summary.last_whole_event_end),
        (size, size),
        "{at}"
    );
    assert_eq!(summary.events, theirs.events.len() as u64, "{at}");
    assert_eq!(
        summary.transactions,
        theirs.transactions.len() as u64,
        "{at}"
    );
    assert_eq!(summary.gtids, theirs.gtids(), "{at}");
    let list = summary.previous_gtids.clone();
    assert_eq!(list, Some(position(&theirs.gtid_list.join(","))), "{at}");
    let times = || theirs.events.iter().map(|event| event.timestamp);
    let micros = |seconds: Option<u32>| seconds.map(Micros::from_seconds);
    assert_eq!(summary.min_time, micros(times().min()), "{at}");
    assert_eq!(summary.max_time, micros(times().max()), "{at}");
    assert_eq!(summary.last_time, micros(times().next_back()), "{at}");
    assert_eq!(summary.first_time, micros(first_commit(theirs)), "{at}");
    assert_eq!(
        summary.last_transaction_end,
        last_commit_end(theirs),
        "{at}"
    );
    let last = theirs.events.last().expect("a file has events");
    match &summary.ending {
        Ending::Rotate { next_file, time } => {
            assert_eq!(last.kind, "Rotate", "{at}");
            assert_eq!(*time, Micros::from_seconds(last.timestamp), "{at}");
            assert!(file.with_file_name(next_file).exists(), "{at}: {next_file}");
        }
        Ending::Stop => assert_eq!(last.kind, "Stop", "{at}"),
        Ending::Open => assert!(!["Rotate", "Stop"].contains(&last.kind), "{at}"),
    }
}

/// Events that belong to the file and not to a transaction.
fn is_of_the_file(event: &Event) -> bool {
    [
        "Start: binlog",
        "Gtid list",
        "Binlog checkpoint",
        "Rotate",
        "Stop",
    ]
    .contains(&event.kind)
}

/// Header time of the event that ends the first transaction, or of the format description.
fn first_commit(theirs: &Opinion) -> Option<u32> {
    let begins = theirs.transactions.first().map_or(0, |(start, _)| *start);
    let mut events = theirs
        .events
        .iter()
        .filter(|event| event.position >= begins);
    let first = events.next()?;
    let ends = |event: &&Event| event.kind != "GTID" && !is_of_the_file(event);
    events
        .take_while(ends)
        .last()
        .or(Some(first))
        .map(|event| event.timestamp)
}

/// Where the last transaction ends, or, without one, what the file has for itself.
fn last_commit_end(theirs: &Opinion) -> u64 {
    let mut before_the_end = theirs.events.iter().rev();
    let found = before_the_end.find(|event| {
        !is_of_the_file(event)
            || (theirs.transactions.is_empty() && !["Rotate", "Stop"].contains(&event.kind))
    });
    found.expect("a file has a format description").end
}

#[test]
fn the_mariadb_corpus_has_every_kind_of_event_a_server_writes() {
    let kinds: BTreeSet<&str> = corpus_files()
        .flat_map(|file| opinion::theirs(&file).events)
        .map(|event| event.kind)
        .collect();
    let expected = [
        "Annotate_rows",
        "Begin_load_query",
        "Binlog checkpoint",
        "Delete_compressed_rows",
        "Delete_rows",
        "Execute_load_query",
        "GTID",
        "Gtid list",
        "Intvar",
        "Query",
        "Query_compressed",
        "Rand",
        "Rotate",
        "Start: binlog",
        "Stop",
        "Table_map",
        "Update_compressed_rows",
        "Update_rows",
        "User_var",
        "Write_compressed_rows",
        "Write_rows",
        "XID",
        "Xid",
    ];
    assert_eq!(kinds, BTreeSet::from(expected));
}
