//! Files beyond 4 GiB, where positions no longer fit the 32 bits that an event has for them.
//!
//! These run in nextest's profile `long` alone (`scripts/test --long`): they need minutes, and 20 GB of disk.

mod memory;

use crate::archive::Archive;
use crate::mysql::{Options, Server, mysqlbinlog};
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::binlog::testing::{BinlogBuilder, mysql_gtid};
use binlogfs::binlog::{
    ChecksumAlgorithm, Flavour, HEADER_BYTES, Scanner, SegmentIndex, Sink, Summary, Transaction,
    kind,
};
use binlogfs::ledger::{Body, Line};
use binlogfs::model::digest::Hasher;
use binlogfs::model::{GtidSet, Sha256};
use binlogfs::segment::{ObjectLayout, OpenSegment};
use binlogfs::source::server::{Server as AskedServer, ServerError, ServerOptions};
use memory::watch_memory;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const FOUR_GIB: u64 = 1 << 32;
/// What an archiver with defaults may have in memory at any time, however large the file.
const ARCHIVER_RSS_MAX_KIB: u64 = 96 << 10;
/// What a reader may have, whatever is read.
const READER_RSS_MAX_KIB: u64 = 256 << 10;
/// How often the memory of a process is looked at; the kernel keeps the peak.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);
/// Read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// SHA-256 and length of all that `reader` yields.
fn digest(mut reader: impl Read) -> (Sha256, u64) {
    let (mut hasher, mut buffer, mut length) = (Hasher::default(), vec![0; PIECE_BYTES], 0);
    loop {
        let read = reader.read(&mut buffer).expect("readable");
        if read == 0 {
            return (hasher.finish(), length);
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}

fn digest_of(path: &Path) -> (Sha256, u64) {
    digest(File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// Archives what is closed in `source`, in bounded memory.
fn archive_measured(archive: &Archive, source: &Path) {
    let begun = Instant::now();
    let mut command = archive.archive_command(source);
    let mut child = command
        .stdout(Stdio::null())
        .spawn()
        .expect("binlogfs starts");
    let peak = watch_memory(child.id());
    assert!(child.wait().expect("is our child").success());
    let peak = peak.join().expect("the watcher ends");
    println!("archive: {:.1?}, peak RSS {peak} KiB", begun.elapsed());
    assert!(peak > 0, "the memory was measured");
    assert!(peak <= ARCHIVER_RSS_MAX_KIB, "{peak} KiB");
}

/// What `cat` gives of one file.
fn cat_measured(archive: &Archive, name: &str) -> (Sha256, u64) {
    let begun = Instant::now();
    let mut command = archive.command(&["cat", &archive.url(), name]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("binlogfs starts");
    let peak = watch_memory(child.id());
    let printed = digest(child.stdout.take().expect("stdout is piped"));
    assert!(child.wait().expect("is our child").success());
    let peak = peak.join().expect("the watcher ends");
    println!("cat: {:.1?}, peak RSS {peak} KiB", begun.elapsed());
    assert!(peak > 0, "the memory was measured");
    assert!(peak <= READER_RSS_MAX_KIB, "{peak} KiB");
    printed
}

/// The segment index in the object of an unencrypted archive's record `seq`.
fn stored_index(archive: &Archive, seq: usize) -> SegmentIndex {
    let line = fs::read(&archive.keys("ledger")[seq - 1]).expect("readable");
    let line = Line::read(&line).expect("a record");
    let Body::Segment(record) = &line.record().body else {
        panic!("record {seq} is no segment");
    };
    let layout = ObjectLayout {
        plain_size: record.size,
        size: record.object.size,
        header_size: record.object.header_size,
        frame_size: record.object.frame_size,
        tail_offset: record.object.tail_offset,
        tail_sha256: record.object.tail_sha256,
    };
    let layout = layout.check().expect("a layout");
    let range = layout.tail_range();
    let mut object = File::open(archive.bucket().join(record.object.key.as_str())).expect("opens");
    object.seek(SeekFrom::Start(range.start)).expect("seeks");
    let mut tail = vec![0; (range.end - range.start) as usize];
    object.read_exact(&mut tail).expect("readable");
    let open = OpenSegment::open(layout, None, &[], &tail).expect("opens");
    open.index().expect("an index")
}

#[derive(Default)]
struct Transactions(Vec<Transaction>);

impl Sink for Transactions {
    fn transaction(&mut self, transaction: &Transaction) {
        self.0.push(transaction.clone());
    }
}

fn scan(path: &Path) -> (Summary, Vec<Transaction>) {
    let mut file = File::open(path).expect("opens");
    let (mut scanner, mut buffer) = (Scanner::new(Transactions::default()), vec![0; PIECE_BYTES]);
    loop {
        let read = file.read(&mut buffer).expect("readable");
        if read == 0 {
            break;
        }
        scanner.push(&buffer[..read]).expect("a binlog");
    }
    let (summary, Transactions(transactions)) = scanner.finish();
    (summary.expect("a binlog"), transactions)
}

/// Rows of the huge transaction: 4.25 GiB of them.
const ROWS: u64 = 68;
/// Of each row, in KiB.
const ROW_KIB: u64 = 64 << 10;
/// Sessions that commit all the time: what waits while the huge transaction is written comes right after it.
const SMALL_SESSIONS: usize = 8;
/// The server rotates at once behind a file that is too large; while it waits this long for company in its sync, the
/// transactions that waited for the huge one are written. The most it can be told.
const SYNC_DELAY_MICROS: u32 = 1_000_000;

/// Three questions one after the other, each with a deadline of five seconds or less and a connection that takes as long.
const ASKED_MAX: Duration = Duration::from_secs(35);

/// A server that has closed a file of more than 4 GiB, most of it one transaction, with small ones behind it.
fn huge_transaction(dir: &Path) -> Server {
    // On disk, not in memory: the transaction is there twice, in the cache of its session and in the binlog.
    fs::create_dir(dir.join("tmp")).expect("writable");
    let server = Options::new()
        .log_bin(&dir.join("binlog").display().to_string())
        .extra(format!("--tmpdir={}", dir.join("tmp").display()))
        .extra("--binlog-row-image=MINIMAL")
        .start();
    // BLACKHOLE: what counts is the binlog, and InnoDB would write all of it once more.
    server.sql(
        "CREATE DATABASE d; CREATE TABLE d.b (id INT, b LONGBLOB) ENGINE = BLACKHOLE; \
         CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT); INSERT INTO d.t (v) VALUES (0)",
    );
    server.sql(&format!(
        "SET GLOBAL binlog_group_commit_sync_delay = {SYNC_DELAY_MICROS}"
    ));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| ask_meanwhile(&server, &done));
        for _ in 0..SMALL_SESSIONS {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    server.sql(&"INSERT INTO d.t (v) VALUES (1);\n".repeat(3));
                }
            });
        }
        server.sql(&format!(
            "INSERT INTO d.b WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS}) \
             SELECT n, REPEAT(RANDOM_BYTES(1024), {ROW_KIB}) FROM n"
        ));
        done.store(true, Ordering::Relaxed);
    });
    server.flush_logs();
    server
}

/// Asks as the archiver does while a huge transaction is written, which holds the lock of the binlog: no question hangs, and what
/// was not answered in time is not waited for again.
fn ask_meanwhile(server: &Server, done: &AtomicBool) {
    let asked = AskedServer::new(ServerOptions {
        socket: Some(server.socket()),
        user: Some("asking".to_owned()),
        ..ServerOptions::default()
    });
    server.sql("CREATE USER asking@localhost; GRANT REPLICATION CLIENT ON *.* TO asking@localhost");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut longest, mut answered, mut given_up) = (Duration::ZERO, 0, 0);
    while !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let replies = runtime.block_on(async {
            let active = asked.active_log().await.map(drop);
            let logs = asked.binary_logs().await.map(drop);
            let facts = asked.facts().await.map(drop);
            [active, logs, facts]
        });
        longest = longest.max(begun.elapsed());
        for reply in replies {
            match reply {
                Ok(()) => answered += 1,
                Err(ServerError::Timeout { .. } | ServerError::StillWaiting { .. }) => {
                    given_up += 1
                }
                Err(error) => panic!("{error}"),
            }
        }
        let sessions = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'asking'";
        let sessions: usize = server.sql_value(sessions).parse().expect("a number");
        // One for each kind of question that waits, and the one of the next.
        assert!(sessions <= 4, "{sessions} connections: they pile up");
        std::thread::sleep(Duration::from_millis(50));
    }
    println!(
        "asked meanwhile: {answered} answered, {given_up} given up; three of them took {longest:.1?} at most"
    );
    assert!(longest < ASKED_MAX, "a question hung for {longest:.1?}");
}

/// The GTIDs that mysqlbinlog prints of `file` from `position` on.
fn printed_gtids(file: &Path, position: u64) -> Vec<String> {
    let mut command = mysqlbinlog();
    command
        .arg("--verify-binlog-checksum")
        .arg(format!("--start-position={position}"))
        .arg(file);
    let text = tools::run(&mut command);
    let text = String::from_utf8_lossy(&text);
    let gtid = |line: &str| {
        let (gtid, _) = line
            .strip_prefix("SET @@SESSION.GTID_NEXT= '")?
            .split_once('\'')?;
        (gtid != "AUTOMATIC").then(|| gtid.to_owned())
    };
    text.lines().filter_map(gtid).collect()
}

#[test]
fn a_real_file_beyond_four_gib_is_archived_in_bounded_memory_and_replayed_from_behind_them() {
    let archive = Archive::plain();
    let dir = archive.data();
    let begun = Instant::now();
    let server = huge_transaction(&dir);
    println!("the server wrote it: {:.1?}", begun.elapsed());
    let binlogs = server.binlogs();
    let size = |path: &Path| fs::metadata(path).expect("there").len();
    let n = binlogs.iter().position(|path| size(path) > FOUR_GIB);
    let n = n.expect("a file beyond 4 GiB");
    let huge = &binlogs[n];
    println!("{}: {} bytes", huge.display(), size(huge));

    let (summary, transactions) = scan(huge);
    assert_eq!(summary.damage, None);
    assert_eq!(summary.last_whole_event_end, size(huge));
    assert!(transactions.iter().any(|t| t.end - t.start > FOUR_GIB));
    let behind: Vec<_> = transactions
        .iter()
        .filter(|transaction| transaction.start > FOUR_GIB)
        .collect();
    println!("{} transactions behind 4 GiB", behind.len());
    let first = behind.first().expect("a transaction behind the huge one");
    let name = huge.file_name().and_then(|name| name.to_str());
    let name = name.expect("a name");
    // The server finds the same transaction at that position.
    let there = server.sql(&format!(
        "SHOW BINLOG EVENTS IN '{name}' FROM {} LIMIT 1",
        first.start
    ));
    assert_eq!(there[0][1], first.start.to_string());
    let gtid = first.gtid.as_ref().expect("it has one").to_string();
    assert!(there[0][5].contains(&gtid), "{there:?} is not {gtid}");

    archive_measured(&archive, &dir.join("binlog.index"));
    let index = stored_index(&archive, n + 1);
    let last = index.points.last().expect("points");
    assert_eq!(last.position, first.start, "the first point behind 4 GiB");
    assert_eq!(index.points, summary.index.points);
    assert_eq!(cat_measured(&archive, name), digest_of(huge));

    let mounted = archive.mount();
    let mounted = mounted.dir().join(name);
    assert_eq!(size(&mounted), size(huge));
    let expected: Vec<String> = behind
        .iter()
        .filter_map(|transaction| Some(transaction.gtid.as_ref()?.to_string()))
        .collect();
    let begun = Instant::now();
    assert_eq!(printed_gtids(&mounted, first.start), expected);
    println!("mysqlbinlog from {}: {:.1?}", first.start, begun.elapsed());
    assert_eq!(printed_gtids(huge, first.start), expected);
}

/// Row events of the synthetic file: 9 GiB of them.
const HUGE_EVENTS: u32 = 18;
const HUGE_EVENT_BYTES: u32 = 512 << 20;

/// Writes a binlog whose second transaction has 9 GiB. Row data are zeros, which take no room on the disk.
fn write_huge(path: &Path, previous: &GtidSet, next_file: &str) {
    let mut builder = BinlogBuilder::new(
        Flavour::MySql,
        "9.7.4",
        ChecksumAlgorithm::Crc32,
        1_700_000_100,
    );
    builder.previous_gtids(previous);
    builder.transaction(&mysql_gtid(1, 2), None, 100);
    builder.gtid(&mysql_gtid(1, 3), None).query("", "BEGIN");
    builder.table_map(90, "shop", "orders");
    let mut file = File::create(path).expect("writable");
    file.write_all(&builder.take()).expect("writable");
    let body_bytes = HUGE_EVENT_BYTES as usize - HEADER_BYTES - 4;
    let zeros = zeros_crc(body_bytes);
    for _ in 0..HUGE_EVENTS {
        builder.event_header(kind::WRITE_ROWS, HUGE_EVENT_BYTES);
        let header = builder.take();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header);
        crc.combine(&zeros);
        file.write_all(&header).expect("writable");
        file.seek(SeekFrom::Current(body_bytes as i64))
            .expect("seeks");
        file.write_all(&crc.finalize().to_le_bytes())
            .expect("writable");
        builder.skip(u64::from(HUGE_EVENT_BYTES) - HEADER_BYTES as u64);
    }
    builder.xid();
    builder.ddl(&mysql_gtid(1, 4), None, "shop", "DROP TABLE orders");
    builder.rotate(next_file);
    file.write_all(&builder.finish()).expect("writable");
}

fn zeros_crc(bytes: usize) -> crc32fast::Hasher {
    let (mut crc, piece) = (crc32fast::Hasher::new(), vec![0; PIECE_BYTES]);
    let mut left = bytes;
    while left > 0 {
        let now = left.min(piece.len());
        crc.update(&piece[..now]);
        left -= now;
    }
    crc
}

#[test]
fn a_file_of_nine_gib_wraps_its_positions_twice_and_comes_back() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(1, 100);
    let previous = server.executed().clone();
    server.rotate(3, 100);
    let huge = server.closed()[1].clone();
    let begun = Instant::now();
    write_huge(&huge, &previous, "binlog.000003");
    let size = fs::metadata(&huge).expect("there").len();
    println!("written, {size} bytes: {:.1?}", begun.elapsed());
    assert!(size > 2 * FOUR_GIB);

    archive_measured(&archive, server.dir());
    let listed = &archive.ls(&[])[1];
    assert_eq!(
        listed["state"], "archived",
        "positions modulo 2^32 are right"
    );
    assert_eq!(listed["size"], size);
    assert_eq!(listed["transactions"], 3);
    let points = stored_index(&archive, 2).points;
    let last = points.last().expect("points");
    assert!(last.position > 2 * FOUR_GIB, "{last:?}");
    assert_eq!(last.gtid, Some(mysql_gtid(1, 4)));
    assert_eq!(cat_measured(&archive, "binlog.000002"), digest_of(&huge));

    let mounted = archive.mount();
    let mut behind = Vec::new();
    let mut file = File::open(mounted.dir().join("binlog.000002")).expect("opens");
    file.seek(SeekFrom::Start(last.position)).expect("seeks");
    file.read_to_end(&mut behind).expect("readable");
    let mut original = File::open(&huge).expect("opens");
    original
        .seek(SeekFrom::Start(last.position))
        .expect("seeks");
    let mut expected = Vec::new();
    original.read_to_end(&mut expected).expect("readable");
    assert!(behind == expected && !behind.is_empty());
    let gtids = printed_gtids(&mounted.dir().join("binlog.000002"), last.position);
    assert_eq!(gtids, [mysql_gtid(1, 4).to_string()]);
}
