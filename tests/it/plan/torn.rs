//! Plans over the last file of a server that is gone: a crash tore it, and the files of its successor come behind it.

use super::{planned, text};
use crate::archive::Archive;
use crate::locate::opened;
use crate::synthetic::{SyntheticServer, uuid_of};
use crate::tools;
use binlogfs::binlog::testing::{BinlogBuilder, mysql_gtid};
use binlogfs::binlog::{ChecksumAlgorithm, Flavour};
use binlogfs::model::{GtidSet, Micros, Timeline};
use binlogfs::recover::{Planner, Question, Start, Target, Written};
use std::fs;

/// The file that was torn.
const TORN: &str = "binlog.000002";
/// When it was begun: when the one before it was closed, by the clock of a [`SyntheticServer`] after four transactions.
const BEGUN_SECONDS: u32 = 1_700_000_005;

fn gtids(numbers: &str) -> GtidSet {
    let set = format!("{}:{numbers}", uuid_of(1));
    set.parse().expect("a GTID set")
}

/// The beginning of a file that was never closed.
fn begun() -> BinlogBuilder {
    let checksums = ChecksumAlgorithm::Crc32;
    let mut builder = BinlogBuilder::new(Flavour::MySql, "9.7.4", checksums, BEGUN_SECONDS);
    builder.in_use().previous_gtids(&gtids("1-4"));
    builder
}

/// A file with three transactions and the first events of a fourth; and where the third ends.
fn crashed() -> (Vec<u8>, usize) {
    let mut builder = begun();
    for number in 5..=7 {
        let commit = Micros(Micros::from_seconds(BEGUN_SECONDS).0 + number as i64);
        builder.transaction(&mysql_gtid(1, number), Some(commit), 100);
    }
    let whole = builder.position() as usize;
    builder.gtid(&mysql_gtid(1, 8), None);
    builder.query("", "BEGIN").table_map(90, "shop", "orders");
    builder.rows(1000);
    (builder.finish(), whole)
}

/// The files of a server that is gone, the last of them `torn`, and one of its successor, which has `executed` of it.
fn archived(torn: &[u8], executed: &str) -> (Archive, [Vec<u8>; 2]) {
    let archive = Archive::encrypted();
    let mut first = SyntheticServer::new(&archive.data(), 1, "binlog");
    first.rotate(4, 100);
    fs::write(first.dir().join(TORN), torn).expect("writable");
    let mut import = tools::binlogfs();
    import
        .args(["import", "--final", "--to", &archive.url()])
        .args(["--recipient", archive.recipient()])
        .arg(first.dir());
    for option in ["state", "cache"] {
        import
            .arg(format!("--{option}-dir"))
            .arg(archive.path(option));
    }
    tools::run(&mut import);
    let dir = archive.path("second");
    fs::create_dir(&dir).expect("writable");
    let mut second = SyntheticServer::starting_at(&dir, 2, "binlog", 1, gtids(executed));
    second.rotate(2, 100);
    archive.archive(second.dir());
    let listed = archive.ls(&[]);
    assert_eq!(listed.len(), 3, "one timeline has all: {listed:#?}");
    assert_eq!(listed[1]["closed_by"], "crash", "{listed:#?}");
    let of = |server: &SyntheticServer| server.truth().remove(0);
    let around = [of(&first), of(&second)];
    (archive, around)
}

/// Who wrote the files of a plan of all of it.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn written(archive: &Archive) -> Written {
    let (index, reader, _) = opened(archive).await;
    let planner = Planner::new(index, reader);
    let question = Question {
        timeline: Timeline(1),
        start: Start::Beginning,
        target: Target::End,
        skip: GtidSet::new(),
    };
    let plan = planner.plan(&question).await.expect("a plan");
    planner.written(&plan).await.expect("readable")
}

#[test]
fn what_a_crash_left_of_a_transaction_is_not_given_before_the_files_of_a_successor() {
    let (all, whole) = crashed();
    // In the middle of the transaction, and in the middle of an event.
    for len in [all.len(), all.len() - 100] {
        let (archive, [before, behind]) = archived(&all[..len], "1-7");
        let plan = planned(&archive, &["--to-end"]);
        let stop = plan["stop"]["position"].as_u64().expect("a number") as usize;
        let output = archive.output(&["cat", &archive.url(), "--to-end"]);
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let wanted = [&before, &all[..whole], &behind[..stop]].concat();
        assert!(
            output.stdout == wanted,
            "{len}: {} bytes",
            output.stdout.len()
        );
        // An applier would read the file to its end.
        assert_eq!(written(&archive).torn.as_deref(), Some(TORN), "{len}");
        // As the target's file it ends there by the plan itself.
        let last = format!("{}:7", uuid_of(1));
        let plan = planned(&archive, &["--after-gtid", &last]);
        assert_eq!(text(&plan["stop"]["file"]), TORN);
        assert_eq!(plan["stop"]["position"], whole, "{plan:#}");
    }
}

#[test]
fn a_file_that_a_crash_left_open_behind_a_transaction_is_given_whole() {
    let (all, whole) = crashed();
    let (archive, _) = archived(&all[..whole], "1-7");
    assert_eq!(written(&archive).torn, None);
}

#[test]
fn a_file_with_no_more_than_part_of_its_first_transaction_is_torn_and_one_without_that_is_not() {
    let mut builder = begun();
    let head = builder.position() as usize;
    builder.gtid(&mysql_gtid(1, 5), None);
    builder.query("", "BEGIN").table_map(90, "shop", "orders");
    let all = builder.finish();
    for (len, torn) in [(all.len(), Some(TORN)), (head, None)] {
        let (archive, _) = archived(&all[..len], "1-4");
        assert_eq!(written(&archive).torn.as_deref(), torn, "{len}");
    }
}
