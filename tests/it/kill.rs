//! Killed with SIGKILL at random moments, again and again: what is left converges to every file once and in order, and a
//! mount that was killed can be cleaned up and mounted again.

use crate::archive::{Archive, on_a_server};
use crate::random::Random;
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::model::Sha256;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs that are really killed.
const KILLS: u32 = 30;
/// On S3, where more can be left half done.
const KILLS_S3: u32 = 100;
/// Of the long test (`scripts/test --long`).
const KILLS_LONG: u32 = 300;
/// Runs that may end before their kill comes, for each kill.
const ESCAPES_PER_KILL_MAX: u32 = 7;
/// Closed files in the beginning; the unharmed run that is measured archives as many.
const SEGMENTS: usize = 20;
/// Closed files that are not archived yet, at least, whenever a run begins: so that a kill has something to hit.
const AHEAD: usize = 8;

/// Closes a file of 100 KB, and every seventh time one of 2 MB.
pub fn rotate(server: &mut SyntheticServer) {
    let transactions = if server.closed().len() % 7 == 3 {
        100
    } else {
        5
    };
    server.rotate(transactions, 20_000);
}

/// How long an unharmed run takes for the files that `server` has now.
fn unharmed(server: &SyntheticServer) -> Duration {
    let archive = Archive::encrypted();
    let begun = Instant::now();
    archive.archive(server.dir());
    begun.elapsed()
}

/// Starts `command` and kills it after `delay`. Returns whether it was still running.
pub fn killed_after(command: &mut Command, delay: Duration) -> bool {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    std::thread::sleep(delay);
    child.kill().expect("can be killed, or has ended");
    let status = child.wait().expect("is our child");
    assert!(
        status.code().is_none_or(|code| code == 0),
        "a run that was not killed ended well: {status}"
    );
    status.code().is_none()
}

/// Every closed file is there once, in order, with its bytes, and nothing else is.
pub fn check_converged(archive: &Archive, server: &SyntheticServer) {
    let listed = archive.ls(&[]);
    assert_eq!(
        archive.keys("ledger").len(),
        server.closed().len(),
        "as many records as files"
    );
    assert_eq!(
        archive.keys("segments").len(),
        server.closed().len(),
        "as many objects as files"
    );
    assert_eq!(listed.len(), server.closed().len());
    for (entry, path) in listed.iter().zip(server.closed()) {
        assert_eq!(
            entry["name"].as_str(),
            path.file_name().and_then(|name| name.to_str())
        );
        let sha256 = Sha256::of(&fs::read(&path).expect("readable")).to_string();
        assert_eq!(
            entry["sha256"].as_str(),
            Some(sha256.as_str()),
            "{}",
            path.display()
        );
    }
    // Reads every object and compares it with that SHA-256.
    archive.verify();
    assert_eq!(
        archive.keys(".tmp"),
        Vec::<std::path::PathBuf>::new(),
        "no unfinished object"
    );
}

#[test]
fn kills_at_random_moments_lose_nothing_and_leave_nothing() {
    let mut random = Random::seeded();
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..SEGMENTS).for_each(|_| rotate(&mut server));
    let whole = unharmed(&server);
    let (mut kills, mut escapes, mut progressed, mut interrupted) = (0, 0, 0, 0);
    let long = std::env::var_os("BINLOGFS_TEST_LONG").is_some();
    let wanted = match (long, on_a_server()) {
        (true, _) => KILLS_LONG,
        (false, true) => KILLS_S3,
        (false, false) => KILLS,
    };
    while kills < wanted {
        let done = archive.keys("ledger").len();
        while server.closed().len() < done + AHEAD {
            rotate(&mut server);
        }
        let expected = whole.mul_f64((server.closed().len() - done) as f64 / SEGMENTS as f64);
        if !killed_after(
            &mut archive.archive_command(server.dir()),
            expected.mul_f64(random.fraction()),
        ) {
            escapes += 1;
            assert!(
                escapes < wanted * ESCAPES_PER_KILL_MAX,
                "{kills} kills in {escapes} runs: the measured time is wrong"
            );
            continue;
        }
        kills += 1;
        let after = archive.keys("ledger").len();
        progressed += usize::from(after > done);
        interrupted += usize::from(archive.keys("segments").len() > after);
    }
    println!(
        "unharmed {whole:?}; {kills} kills, {progressed} after a record, {interrupted} left an object without one; {escapes} escaped"
    );
    assert!(
        progressed > 0,
        "some runs came far enough to be worth killing"
    );
    archive.archive(server.dir());
    check_converged(&archive, &server);
    assert!(
        archive
            .archive(server.dir())
            .contains("archived 0 segments")
    );
}

/// Waits until `name` can be read in `dir`.
fn wait_for_mount(dir: &Path, name: &str) {
    let begun = Instant::now();
    while fs::metadata(dir.join(name)).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "nothing is mounted on {}",
            dir.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_mount_that_was_killed_is_unmounted_lazily_and_mounted_again() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(10, 20_000);
    archive.archive(server.dir());
    let truth = fs::read(&server.closed()[0]).expect("readable");
    let dir = archive.path("mnt");
    let mount = dir.to_str().expect("text");
    let mut command = archive.command(&["mount", &archive.url(), mount, "--foreground"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    wait_for_mount(&dir, "binlog.000001");
    let open = fs::File::open(dir.join("binlog.000001")).expect("opens");
    child.kill().expect("runs");
    child.wait().expect("is our child");
    let error = fs::read_dir(&dir).expect_err("nobody answers");
    assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN), "{error}");
    tools::run(Command::new("umount").arg("-l").arg(&dir));
    assert_eq!(fs::read_dir(&dir).expect("the directory below").count(), 0);
    let mounted = archive.mount();
    assert!(fs::read(mounted.dir().join("binlog.000001")).expect("readable") == truth);
    drop(open);
}
