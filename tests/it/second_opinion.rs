//! Our scanner against two readers that share no code with it, over every file of the corpus.

mod mysql_common;
mod mysqlbinlog;

use crate::corpus;
use binlogfs::model::GtidSet;
use std::collections::BTreeSet;
use std::path::Path;

/// An event, as far as all readers tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    position: u64,
    end: u64,
    kind: &'static str,
    timestamp: u32,
    server_id: u32,
}

/// A GTID event, or an anonymous one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TransactionStart {
    position: u64,
    gtid: Option<String>,
    commit_micros: Option<i64>,
}

/// What a reader says of a file.
#[derive(Debug, Default)]
struct Opinion {
    events: Vec<Event>,
    transactions: Vec<TransactionStart>,
    previous_gtids: Option<GtidSet>,
    /// Of the Table_map events; mysql_common does not look into payloads.
    tables: BTreeSet<String>,
}

/// Compares item by item, so that a failure shows the first difference and not two long lists.
fn assert_same<T: PartialEq + std::fmt::Debug>(what: &str, file: &Path, ours: &[T], theirs: &[T]) {
    for (n, (one, other)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(one, other, "{what} {n} of {}", file.display());
    }
    assert_eq!(
        ours.len(),
        theirs.len(),
        "number of {what}s of {}",
        file.display()
    );
}

#[test]
fn the_two_other_readers_agree_with_each_other() {
    for file in corpus_files() {
        let (one, other) = (mysqlbinlog::opinion(&file), mysql_common::opinion(&file));
        assert_same("event", &file, &one.events, &other.events);
        assert_same("transaction", &file, &one.transactions, &other.transactions);
        assert_eq!(
            one.previous_gtids,
            other.previous_gtids,
            "{}",
            file.display()
        );
        assert!(one.tables.is_superset(&other.tables), "{}", file.display());
    }
}

#[test]
fn the_corpus_has_every_kind_of_event_a_server_writes() {
    let mut kinds = BTreeSet::new();
    for file in corpus_files() {
        kinds.extend(
            mysql_common::opinion(&file)
                .events
                .iter()
                .map(|event| event.kind),
        );
    }
    let expected = [
        "Anonymous_Gtid",
        "Begin_load_query",
        "Delete_rows",
        "Execute_load_query",
        "Format_desc",
        "Gtid",
        "Intvar",
        "Previous_gtids",
        "Query",
        "RAND",
        "Rotate",
        "Rows_query",
        "Stop",
        "Table_map",
        "Transaction_payload",
        "Update_rows",
        "Update_rows_partial",
        "User var",
        "Write_rows",
        "XA_prepare",
        "Xid",
    ];
    assert_eq!(kinds, BTreeSet::from(expected));
}

/// Every file of the corpus, the active ones too.
fn corpus_files() -> Vec<std::path::PathBuf> {
    let files = corpus::names().flat_map(|name| corpus::snapshot(name).files());
    files.collect()
}
