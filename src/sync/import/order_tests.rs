//! Piles made out of known histories, which must come back as they were.

use super::*;
use crate::binlog::testing::{BinlogBuilder, mysql_gtid};
use crate::binlog::{ChecksumAlgorithm, Flavour, Scanner};
use crate::model::{GtidSet, Micros, Sha256};
use crate::sync::import::compression::Compression;
use crate::sync::import::may_be_beginnings;
use crate::sync::import::pile::Item;
use proptest::prelude::*;

#[path = "reset_tests.rs"]
mod resets;

/// How a server ends a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Rotate,
    Stop,
    Crash,
    /// Everything is forgotten, and the numbers begin again.
    Reset,
}

/// A server, and the files it has written.
struct Server {
    gtids: bool,
    seconds: u32,
    number: u64,
    executed: GtidSet,
    transaction: u64,
    files: Vec<Vec<(String, Vec<u8>)>>,
}

impl Server {
    fn new(gtids: bool) -> Server {
        Server {
            gtids,
            seconds: 1_700_000_000,
            number: 1,
            executed: GtidSet::new(),
            transaction: 0,
            files: vec![Vec::new()],
        }
    }

    fn builder(&self) -> BinlogBuilder {
        let crc = ChecksumAlgorithm::Crc32;
        let mut builder = BinlogBuilder::new(Flavour::MySql, "9.7.4", crc, self.seconds);
        builder.previous_gtids(&self.executed);
        builder
    }

    /// Writes a file of `transactions`, and ends it.
    fn file(&mut self, transactions: u64, end: End) -> &mut Server {
        let mut builder = self.builder();
        for _ in 0..transactions {
            self.seconds += 1;
            self.transaction += 1;
            builder.time(self.seconds);
            if self.gtids {
                let gtid = mysql_gtid(1, self.transaction);
                let commit = Micros(Micros::from_seconds(self.seconds).0 + 123);
                builder.transaction(&gtid, Some(commit), 50);
                self.executed.insert(&gtid);
            } else {
                builder.anonymous_gtid(None).query("db", "BEGIN").xid();
            }
        }
        let name = format!("binlog.{:06}", self.number);
        self.number += 1;
        match end {
            End::Rotate => {
                builder.rotate(&format!("binlog.{:06}", self.number));
            }
            End::Stop => {
                builder.stop();
                self.seconds += 5;
            }
            End::Crash | End::Reset => self.seconds += 5,
        }
        let life = self.files.last_mut().expect("there is a life");
        life.push((name, builder.finish()));
        if end == End::Reset {
            (self.number, self.transaction) = (1, 0);
            self.executed = GtidSet::new();
            self.files.push(Vec::new());
        }
        self
    }
}

fn found(path: &str, bytes: &[u8]) -> Arc<Found> {
    let mut scanner = Scanner::new(());
    scanner.push(bytes).expect("a binlog");
    Arc::new(Found {
        item: Item::of_object(path.parse().expect("a key"), bytes.len() as u64),
        compression: Compression::None,
        summary: scanner.finish().0.expect("a binlog"),
        sha256: Sha256::of(bytes),
    })
}

/// All that may be the beginning of another, if it is.
fn beginnings(found: &[Arc<Found>], bytes: &[(String, Vec<u8>)]) -> HashSet<(usize, usize)> {
    // As the comparison of files does: the flag IN_USE is no difference.
    let plain = |n: usize| {
        let mut bytes = bytes[n].1.clone();
        bytes[4 + 17] &= !1;
        bytes
    };
    let is_beginning = |(long, short): &(usize, usize)| plain(*long).starts_with(&plain(*short));
    let pairs = may_be_beginnings(found).into_iter();
    pairs.filter(is_beginning).collect()
}

fn ordered(files: &[(String, Vec<u8>)]) -> Result<Order, OrderError> {
    let found: Vec<_> = files.iter().map(|(path, b)| found(path, b)).collect();
    let all = Wanted {
        last: true,
        ..Wanted::default()
    };
    order(&found, &beginnings(&found, files), all)
}

fn names(order: &Order) -> Vec<Vec<String>> {
    let names = |life: &Life| life.files.iter().map(|f| f.name.to_string()).collect();
    order.lives.iter().map(names).collect()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn names_that_repeat_are_two_lives_in_their_order() {
    for gtids in [true, false] {
        let mut server = Server::new(gtids);
        server
            .file(3, End::Rotate)
            .file(2, End::Stop)
            .file(1, End::Reset)
            .file(2, End::Rotate)
            .file(4, End::Crash);
        let mut pile = Vec::new();
        for (n, life) in server.files.iter().enumerate().rev() {
            let files = life.iter().rev().cloned();
            pile.extend(files.map(|(name, bytes)| (format!("{n}/{name}"), bytes)));
        }
        let order = ordered(&pile).expect("an order");
        assert_eq!(
            names(&order),
            [
                owned(&["binlog.000001", "binlog.000002", "binlog.000003"]),
                owned(&["binlog.000001", "binlog.000002"])
            ],
            "GTIDs {gtids}"
        );
    }
}

#[test]
fn a_file_is_what_it_says_and_not_what_it_is_named() {
    let mut server = Server::new(true);
    for _ in 0..4 {
        server.file(1, End::Rotate);
    }
    let mut pile = server.files[0].clone();
    // The first two have exchanged their names, the third has one that says nothing.
    let (first, second) = (pile[0].0.clone(), pile[1].0.clone());
    (pile[0].0, pile[1].0, pile[2].0) = (second, first, "old/backup-of-tuesday".to_owned());
    let order = ordered(&pile).expect("an order");
    let paths: Vec<_> = order
        .files()
        .map(|file| file.found.item.path.clone())
        .collect();
    assert_eq!(
        paths,
        [
            "binlog.000002",
            "binlog.000001",
            "old/backup-of-tuesday",
            "binlog.000004"
        ]
    );
    assert_eq!(
        names(&order)[0],
        [
            "binlog.000001",
            "binlog.000002",
            "binlog.000003",
            "binlog.000004"
        ]
    );
}

#[test]
fn a_date_in_a_path_is_no_number() {
    let mut server = Server::new(true);
    server.file(3, End::Rotate).file(2, End::Stop);
    server.file(1, End::Rotate).file(2, End::Stop);
    let dated = |(name, bytes): &(String, Vec<u8>)| (format!("db1.20240101.{name}"), bytes.clone());
    let files: Vec<_> = server.files[0].iter().map(dated).collect();
    let order = ordered(&files).expect("ordered");
    let all = [
        "binlog.000001",
        "binlog.000002",
        "binlog.000003",
        "binlog.000004",
    ];
    assert_eq!(names(&order), [owned(&all)]);
}

#[test]
fn a_number_that_is_far_off_is_refused_and_nobody_counts_to_it() {
    let mut server = Server::new(true);
    server.file(3, End::Rotate).file(2, End::Stop);
    let mut files = server.files[0].clone();
    files[1].0 = "binlog.2024010112".to_owned();
    let refused = ordered(&files).expect_err("two thousand million holes");
    assert!(matches!(refused, OrderError::TooFar { missing, .. } if missing == 2_024_010_110));
}

#[test]
fn what_nothing_tells_the_number_of_has_no_place() {
    let mut server = Server::new(true);
    server.file(1, End::Rotate).file(1, End::Stop);
    let mut pile = server.files[0].clone();
    pile[1].0 = "last".to_owned();
    let order = ordered(&pile).expect("the file before it names it");
    assert_eq!(names(&order)[0], ["binlog.000001", "binlog.000002"]);
    let order = ordered(&pile[1..]).expect("an order");
    assert!(order.lives.is_empty());
    assert_eq!(order.nameless[0].path, "last");
}

#[test]
fn of_copies_the_whole_and_undamaged_one_is_taken() {
    let mut server = Server::new(true);
    server.file(9, End::Rotate).file(1, End::Rotate);
    let mut pile = server.files[0].clone();
    let whole = pile[0].1.clone();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    let mut flagged = whole.clone();
    flagged[4 + 17] |= 1;
    pile.push(("again/binlog.000001".to_owned(), whole.clone()));
    pile.push(("raw/binlog.000001".to_owned(), flagged));
    pile.push(("cut".to_owned(), whole[..whole.len() / 2].to_vec()));
    pile.push(("damaged/binlog.000001".to_owned(), damaged));
    let order = ordered(&pile).expect("an order");
    assert_eq!(names(&order), [["binlog.000001", "binlog.000002"]]);
    let mut told: Vec<_> = order
        .dropped
        .iter()
        .map(|d| (d.path.as_str(), d.why))
        .collect();
    told.sort_by_key(|(path, _)| *path);
    assert_eq!(
        told,
        [
            ("again/binlog.000001", Why::Duplicate),
            ("cut", Why::CutShort),
            ("damaged/binlog.000001", Why::Damaged),
            ("raw/binlog.000001", Why::InUse)
        ]
    );
    for dropped in &order.dropped {
        assert_eq!(dropped.of, "binlog.000001", "{dropped:?}");
    }
}

#[test]
fn two_that_are_whole_and_differ_are_not_chosen_between() {
    let mut server = Server::new(true);
    server.file(2, End::Rotate);
    let (seconds, executed) = (server.seconds, server.executed.clone());
    let mut other = Server::new(true);
    (other.seconds, other.number, other.transaction) = (seconds, 2, 2);
    other.executed = executed;
    server.file(1, End::Rotate);
    other.file(2, End::Rotate);
    let mut pile = server.files[0].clone();
    let (name, bytes) = other.files[0][0].clone();
    pile.push((format!("other/{name}"), bytes));
    let error = ordered(&pile).expect_err("two second files");
    let OrderError::Contested { name, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(name, "binlog.000002");
    assert!(error.to_string().contains("other/binlog.000002"), "{error}");
    assert!(error.to_string().contains("--exclude"), "{error}");
}

#[test]
fn two_servers_at_once_are_refused_unless_one_is_named() {
    let mut pile = Vec::new();
    for (id, transaction) in [(1, 0), (2, 1000)] {
        let mut server = Server::new(true);
        // In seconds of their own: server ids are in format descriptions, but not in these.
        (server.transaction, server.seconds) = (transaction, server.seconds + id);
        server.file(3, End::Rotate).file(2, End::Rotate);
        for (name, bytes) in &server.files[0] {
            pile.push((id, format!("{id}/{name}"), bytes.clone()));
        }
    }
    let found: Vec<_> = pile
        .iter()
        .map(|(id, path, bytes)| {
            let mut found = Arc::unwrap_or_clone(found(path, bytes));
            found.summary.server_id = *id;
            Arc::new(found)
        })
        .collect();
    let error = order(&found, &HashSet::new(), Wanted::default()).expect_err("two at once");
    assert!(error.to_string().contains("--server-id"), "{error}");
    let wanted = Wanted {
        server_id: Some(2),
        last: false,
    };
    let order = order(&found, &HashSet::new(), wanted).expect("one");
    let paths: Vec<_> = order
        .files()
        .map(|file| file.found.item.path.as_str())
        .collect();
    assert_eq!(paths, ["2/binlog.000001", "2/binlog.000002"]);
}

#[test]
fn the_newest_file_is_left_to_the_archiver_if_nothing_ends_it() {
    let mut server = Server::new(true);
    server
        .file(1, End::Crash)
        .file(1, End::Rotate)
        .file(1, End::Crash);
    let found: Vec<_> = server.files[0].iter().map(|(n, b)| found(n, b)).collect();
    let order = order(&found, &HashSet::new(), Wanted::default()).expect("an order");
    assert_eq!(names(&order), [["binlog.000001", "binlog.000002"]]);
    let unfinished = order.unfinished.expect("the third");
    assert_eq!(unfinished.name.to_string(), "binlog.000003");
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        8 => Just(End::Rotate),
        1 => Just(End::Stop),
        1 => Just(End::Crash),
        1 => Just(End::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is shuffled, doubled and lost, what is left comes back in the order in which it was written, and what is
    /// missing between is named.
    #[test]
    fn a_shuffled_pile_comes_back_as_it_was_written(
        gtids in any::<bool>(),
        steps in prop::collection::vec((0..4u64, end(), any::<u32>(), 0..10u8, 0..8u8), 1..40),
    ) {
        let mut server = Server::new(gtids);
        for (transactions, end, ..) in &steps {
            // Two empty lives could not be told apart.
            server.file(transactions + u64::from(*end == End::Reset), *end);
        }
        let (mut expected, mut holes, mut pile) = (Vec::new(), Vec::new(), Vec::new());
        let mut step = steps.iter();
        for (n, life) in server.files.iter().enumerate().filter(|(_, life)| !life.is_empty()) {
            let mut kept = Vec::new();
            for (at, (name, bytes)) in life.iter().enumerate() {
                let (_, _, weight, fate, copies) = step.next().expect("a step for each file");
                let inner = at > 0 && at + 1 < life.len();
                if inner && *fate == 0 {
                    holes.push(name.clone());
                    continue;
                }
                kept.push(name.clone());
                pile.push((*weight, format!("{n}/{name}"), bytes.clone()));
                if *copies == 0 {
                    pile.push((weight.rotate_left(16), format!("copy/{n}/{name}.old"), bytes.clone()));
                }
            }
            expected.push(kept);
        }
        pile.sort_by_key(|(weight, ..)| *weight);
        let pile: Vec<_> = pile.into_iter().map(|(_, path, bytes)| (path, bytes)).collect();
        let order = ordered(&pile).expect("an order");
        prop_assert_eq!(names(&order), expected);
        let told: Vec<_> = order.lives.iter().flat_map(Life::holes).map(|hole| hole.to_string()).collect();
        prop_assert_eq!(told, holes);
        prop_assert_eq!(order.files().count() + order.dropped.len(), pile.len());
    }
}
