//! A slow or broken link to a server, for tests and benchmarks: kernels without netem have no other.
//!
//! What its tests time are lower bounds, which a busy machine cannot break.

pub mod conditions;
pub mod link;
pub mod pace;

use crate::archive::Archive;
use crate::s3::server::{S3Server, url};
use crate::{corpus, tools};
use conditions::{Change, Conditions, Fault};
use link::SlowLink;
use pace::{Pace, WINDOW_BYTES, Window};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// More than any answer that does come takes, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough to see that nothing comes.
const A_WHILE: Duration = Duration::from_millis(200);

/// Answers each connection's request, 8 bytes of a length, with so many bytes, again and again.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a connection");
            client.set_nodelay(true).expect("settable");
            std::thread::spawn(move || {
                let mut length = [0; 8];
                while client.read_exact(&mut length).is_ok() {
                    let answer = vec![7; u64::from_be_bytes(length) as usize];
                    if client.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn connect(link: &SlowLink) -> TcpStream {
    let client = TcpStream::connect(link.address()).expect("the link accepts");
    client.set_read_timeout(Some(PATIENCE)).expect("settable");
    client
}

fn ask(mut client: &TcpStream, bytes: u64) {
    client
        .write_all(&bytes.to_be_bytes())
        .expect("the link takes it");
}

fn answer(mut client: &TcpStream, bytes: usize) {
    let mut answer = vec![0; bytes];
    client.read_exact(&mut answer).expect("an answer");
    assert!(answer.iter().all(|byte| *byte == 7));
}

/// Whether nothing comes for a while.
fn is_silent(client: &TcpStream) -> bool {
    client.set_read_timeout(Some(A_WHILE)).expect("settable");
    let silent = client
        .peek(&mut [0])
        .is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    client.set_read_timeout(Some(PATIENCE)).expect("settable");
    silent
}

/// The bytes of the answer that come before the connection ends.
fn answered_before_the_end(mut client: &TcpStream) -> usize {
    let mut all = Vec::new();
    match client.read_to_end(&mut all) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
    }
    all.len()
}

#[test]
fn a_pace_is_kept_and_what_was_late_is_made_up_for() {
    let begun = Instant::now();
    let mut pace = Pace::default();
    // Asked all at once: one after the other.
    for n in 1..=100 {
        assert_eq!(
            pace.reserve(begun, 1000, 1_000_000),
            begun + Duration::from_millis(n)
        );
    }
    // A little late: no time is lost.
    let late = begun + Duration::from_millis(105);
    assert_eq!(
        pace.reserve(late, 1000, 1_000_000),
        begun + Duration::from_millis(101)
    );
    // Idle for long: a burst of ten milliseconds and no more.
    let later = begun + Duration::from_secs(60);
    let burst = (0..20).filter(|_| pace.reserve(later, 1000, 1_000_000) <= later);
    assert_eq!(burst.count(), 10);
}

#[test]
fn no_more_than_a_window_is_in_flight_in_a_round_trip() {
    let begun = Instant::now();
    let round_trip = Duration::from_millis(20);
    let mut window = Window::default();
    let mut leave = |now| window.leave(now, WINDOW_BYTES / 2, round_trip);
    assert_eq!(leave(begun), begun);
    let later = begun + Duration::from_millis(5);
    assert_eq!(leave(later), later);
    // The first half is acknowledged after its round trip, the second after its own.
    assert_eq!(leave(later), begun + round_trip);
    assert_eq!(leave(begun + round_trip), later + round_trip);
    // All is acknowledged.
    let idle = begun + Duration::from_secs(1);
    assert_eq!(leave(idle), idle);
    assert_eq!(leave(idle), idle);
}

#[test]
fn bytes_pass_unchanged_in_both_directions_and_are_counted() {
    let link = SlowLink::start(server(), Conditions::default());
    let (one, two) = (connect(&link), connect(&link));
    for client in [&one, &two] {
        for bytes in [1, 100_000, 3_000_000] {
            ask(client, bytes);
            answer(client, bytes as usize);
        }
    }
    one.shutdown(std::net::Shutdown::Write).expect("open");
    assert_eq!(
        answered_before_the_end(&one),
        0,
        "the server sees the end and closes"
    );
    let traffic = link.traffic();
    assert_eq!(traffic.connections, 2);
    assert_eq!(traffic.up_bytes, 2 * 3 * 8);
    assert_eq!(traffic.down_bytes, 2 * 3_100_001);
}

#[test]
fn every_request_waits_a_round_trip_and_the_first_of_a_connection_two() {
    let round_trip = Duration::from_millis(50);
    let conditions = Conditions {
        round_trip,
        ..Conditions::default()
    };
    let link = SlowLink::start(server(), conditions);
    let begun = Instant::now();
    let client = connect(&link);
    ask(&client, 10);
    answer(&client, 10);
    assert!(begun.elapsed() >= round_trip * 2);
    let begun = Instant::now();
    ask(&client, 10);
    answer(&client, 10);
    assert!(begun.elapsed() >= round_trip);
}

#[test]
fn connections_share_one_rate() {
    let conditions = Conditions {
        bytes_per_second: Some(4_000_000),
        ..Conditions::default()
    };
    let link = SlowLink::start(server(), conditions);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = connect(&link);
                ask(&client, 300_000);
                answer(&client, 300_000);
            });
        }
    });
    // 1.2 MB at 4 MB/s, less the burst.
    assert!(begun.elapsed() >= Duration::from_millis(280));
}

#[test]
fn a_silent_link_accepts_and_answers_when_the_silence_ends() {
    let link = SlowLink::start(server(), Conditions::default());
    let old = connect(&link);
    ask(&old, 10);
    answer(&old, 10);
    link.fail(Some(Fault::Silence));
    let new = connect(&link);
    for client in [&old, &new] {
        ask(client, 10);
        assert!(is_silent(client));
    }
    link.fail(None);
    for client in [&old, &new] {
        answer(client, 10);
    }
}

#[test]
fn a_trickling_link_takes_a_second_for_a_byte() {
    let link = SlowLink::start(server(), Conditions::default());
    link.fail(Some(Fault::Trickle));
    let client = connect(&link);
    let begun = Instant::now();
    ask(&client, 100_000);
    answer(&client, 1);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    link.fail(None);
    answer(&client, 99_999);
}

#[test]
fn a_cut_ends_each_connection_after_so_many_bytes_from_then_on() {
    let link = SlowLink::start(server(), Conditions::default());
    let old = connect(&link);
    ask(&old, 1000);
    answer(&old, 1000);
    link.fail(Some(Fault::CutAfter(700)));
    let new = connect(&link);
    for client in [&old, &new] {
        ask(client, 1000);
        assert_eq!(answered_before_the_end(client), 700);
    }
}

#[test]
fn a_refusing_link_closes_what_is_open_and_what_comes() {
    let link = SlowLink::start(server(), Conditions::default());
    let old = connect(&link);
    ask(&old, 10);
    answer(&old, 10);
    link.fail(Some(Fault::Refuse));
    assert_eq!(answered_before_the_end(&old), 0);
    assert_eq!(answered_before_the_end(&connect(&link)), 0);
    link.fail(None);
    let new = connect(&link);
    ask(&new, 10);
    answer(&new, 10);
}

#[test]
fn binlogs_go_and_come_whole_through_a_slow_link() {
    let archive = Archive::encrypted();
    let server = S3Server::start(&archive.path("behind"));
    let to = server.endpoint();
    let to = to.strip_prefix("http://").expect("no TLS");
    let conditions = Conditions {
        round_trip: Duration::from_millis(5),
        bytes_per_second: Some(25_000_000),
        connection_bytes_per_second: None,
        fault: None,
    };
    let link = SlowLink::start(to.parse().expect("an address"), conditions);
    let url = url(&link.endpoint(), "prod");
    let snapshot = corpus::snapshot("row");
    tools::run(&mut archive.archive_command_to(&url, &snapshot.dir));
    let read = tools::run(&mut archive.command(&["cat", &url]));
    let files = snapshot.closed();
    let all: Vec<u8> = files
        .iter()
        .flat_map(|path| std::fs::read(path).expect("readable"))
        .collect();
    assert!(read == all);
    assert!(link.traffic().down_bytes > 0);
}

#[test]
fn settings_are_read_from_words() {
    let mut conditions = Conditions::default();
    for (name, value) in [
        ("round-trip-ms", "20"),
        ("rate-mbit", "200"),
        ("connection-mbit", "720"),
        ("fault", "cut:65536"),
    ] {
        conditions.apply(Change::parse(name, value).expect("known"));
    }
    let expected = Conditions {
        round_trip: Duration::from_millis(20),
        bytes_per_second: Some(25_000_000),
        connection_bytes_per_second: Some(90_000_000),
        fault: Some(Fault::CutAfter(65536)),
    };
    assert_eq!(conditions, expected);
    for (name, value) in [
        ("rate-mbit", "0"),
        ("connection-mbit", "fast"),
        ("round-trip-ms", "soon"),
        ("fault", "cut:"),
        ("fault", ""),
        ("jitter", "3"),
    ] {
        assert!(Change::parse(name, value).is_err(), "{name} {value}");
    }
}
