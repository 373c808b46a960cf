//! Archive and local files as one history, on a real server, through the kernel.

mod attributes;

use crate::archive::{Archive, Mounted};
use crate::mysql::{self, Options, Server};
use crate::synthetic::SyntheticServer;
use crate::tools::{self, errno, eventually};
use attributes::attributes;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

fn mount_with_local(archive: &Archive, datadir: &Path) -> Mounted {
    let local = format!("--local={}", datadir.display());
    archive.mount_with(&[&local, "--refresh=1"])
}

#[track_caller]
fn refusal(archive: &Archive, datadir: &Path) -> String {
    let (mount, local) = (
        archive.path("mnt"),
        format!("--local={}", datadir.display()),
    );
    let url = archive.url();
    let arguments = ["mount", &url, mount.to_str().expect("text"), &local];
    let Output { status, stderr, .. } = archive.output(&arguments);
    assert!(!status.success());
    String::from_utf8_lossy(&stderr).into_owned()
}

/// Names and paths of what the root shows, in order.
fn shown(mounted: &Mounted) -> Vec<PathBuf> {
    let entries = fs::read_dir(mounted.dir()).expect("lists");
    let mut paths: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    let name = |path: &PathBuf| {
        path.file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    paths.iter().map(name).collect()
}

fn replay(files: &[PathBuf]) -> String {
    let mut command = mysql::mysqlbinlog();
    tools::run_text(command.arg("--verify-binlog-checksum").args(files))
}

/// The numbers of the GTIDs that a replay sets, in order.
fn gtids(replayed: &str) -> Vec<u64> {
    let of_line = |line: &str| {
        let rest = line.strip_prefix("SET @@SESSION.GTID_NEXT= '")?;
        rest.split_once(':')?.1.split_once('\'')?.0.parse().ok()
    };
    replayed.lines().filter_map(of_line).collect()
}

/// How many transactions the server has committed.
fn committed(server: &Server) -> u64 {
    let set = server.sql_value("SELECT @@GLOBAL.gtid_executed");
    let last = set.rsplit([':', '-']).next().expect("a number");
    last.trim().parse().unwrap_or(0)
}

/// The server clears the IN_USE flag, the lowest bit of byte 21, when it closes a file.
fn same_but_for_in_use(one: &[u8], two: &[u8]) -> bool {
    one.len() == two.len() && one[..21] == two[..21] && one[22..] == two[22..]
}

/// Links every binlog of the server into `keep`, so that a PURGE takes none away.
fn keep(server: &Server, keep: &Path) {
    for path in server.binlogs() {
        let _ = fs::hard_link(&path, keep.join(path.file_name().expect("a name")));
    }
}

#[test]
fn under_load_every_replay_of_the_mount_is_the_servers_history_up_to_now() {
    let archive = Archive::in_memory(true);
    let kept = mysql::scratch_parent().join(format!("binlogfs-kept-{}", std::process::id()));
    fs::create_dir_all(&kept).expect("writable");
    let server = Options::new().max_binlog_size(64 << 10).start();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT)");
    server.flush_logs();
    archive.archive(&server.datadir());
    let mounted = mount_with_local(&archive, &server.datadir());
    let insert = "INSERT INTO d.t (v) VALUES (REPEAT('x', 700)); ".repeat(400);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            for _ in 0..4 {
                server.sql(&insert);
            }
        });
        let mut rounds = 0;
        while !load.is_finished() || rounds < 3 {
            rounds += 1;
            keep(&server, &kept);
            let before = committed(&server);
            let replayed = gtids(&replay(&shown(&mounted)));
            assert!(
                replayed.len() as u64 >= before,
                "{} of {before}",
                replayed.len()
            );
            let expected: Vec<u64> = (1..=replayed.len() as u64).collect();
            assert!(replayed == expected, "in order, each once: {replayed:?}");
            if rounds % 2 == 0 {
                archive.archive(&server.datadir());
                keep(&server, &kept);
                let last = archive.ls(&[]).last().expect("some")["name"].clone();
                server.sql(&format!(
                    "PURGE BINARY LOGS TO '{}'",
                    last.as_str().expect("text")
                ));
            }
        }
        load.join().expect("the load ends");
    });
    keep(&server, &kept);
    let mut own: Vec<_> = fs::read_dir(&kept)
        .expect("lists")
        .map(|e| e.expect("an entry").path())
        .collect();
    own.sort();
    let mounts = shown(&mounted);
    assert_eq!(names(&mounts), names(&own));
    assert!(server.binlogs().len() < own.len(), "some were purged");
    for (mount, own) in mounts.iter().zip(&own) {
        let same = fs::read(mount).expect("reads") == fs::read(own).expect("reads");
        assert!(same, "{}", own.display());
    }
    assert!(replay(&mounts) == replay(&own));
    fs::remove_dir_all(&kept).expect("removable");
}

#[test]
fn a_file_keeps_name_and_inode_from_active_to_closed_to_archived_to_purged() {
    let archive = Archive::in_memory(true);
    let server = Server::new();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT)");
    server.flush_logs();
    archive.archive(&server.datadir());
    let mounted = mount_with_local(&archive, &server.datadir());
    let active = shown(&mounted).last().expect("the active file").clone();
    let own = server.binlogs().last().expect("the active file").clone();
    let ino = active.metadata().expect("stats").ino();
    let state = || {
        let mut value = vec![0; 64];
        let len = rustix::fs::getxattr(&active, "user.binlogfs.state", &mut value[..]);
        value.truncate(len.expect("has a state"));
        String::from_utf8(value).expect("text")
    };
    assert_eq!(state(), "active");
    let mut reader = File::open(&active).expect("opens");
    let mut read = Vec::new();
    for n in 0..20 {
        server.sql(&format!("INSERT INTO d.t VALUES ({n})"));
        let size = own.metadata().expect("stats").len();
        assert_eq!(active.metadata().expect("stats").len(), size);
        reader.read_to_end(&mut read).expect("reads on");
        assert_eq!(
            read.len() as u64,
            size,
            "a reader at the end sees what was added"
        );
    }
    server.flush_logs();
    assert_eq!(
        names(&shown(&mounted)).len(),
        3,
        "the next one is there at once"
    );
    reader.read_to_end(&mut read).expect("reads on");
    let whole = fs::read(&own).expect("reads");
    assert!(same_but_for_in_use(&read, &whole));
    assert!(fs::read(&active).expect("reads") == whole);
    assert_eq!(state(), "closed");
    archive.archive(&server.datadir());
    eventually("the record is seen", || state() == "archived");
    let same = || {
        assert_eq!(active.metadata().expect("stats").ino(), ino);
        assert!(fs::read(&active).expect("reads") == whole);
        let listed = shown(&mounted);
        assert_eq!(listed.iter().filter(|path| **path == active).count(), 1);
    };
    same();
    let next = server.binlogs().last().expect("there").clone();
    let next = next
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    server.sql(&format!("PURGE BINARY LOGS TO '{next}'"));
    assert!(!own.exists());
    same();
    assert_eq!(names(&shown(&mounted)).last(), Some(&next));
}

#[test]
fn what_was_purged_before_it_was_archived_stops_a_replay() {
    let archive = Archive::in_memory(false);
    let server = Server::new();
    server.flush_logs();
    archive.archive(&server.datadir());
    server.flush_logs();
    let mounted = mount_with_local(&archive, &server.datadir());
    assert_eq!(shown(&mounted).len(), 3);
    server.flush_logs();
    let last = server.binlogs().last().expect("there").clone();
    let last = last
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    server.sql(&format!("PURGE BINARY LOGS TO '{last}'"));
    let paths = shown(&mounted);
    assert_eq!(
        names(&paths),
        [
            "binlog.000001",
            "binlog.000002",
            "binlog.000003",
            "binlog.000004"
        ]
    );
    for missing in &paths[1..3] {
        let known: Vec<_> = attributes(missing).into_keys().collect();
        assert_eq!(known, ["file", "incarnation", "state", "timeline"]);
        assert_eq!(missing.metadata().expect("stats").len(), 0);
        assert_eq!(errno(File::open(missing)), libc::EIO);
    }
    assert!(fs::read(&paths[3]).is_ok());
    let output = tools::output(mysql::mysqlbinlog().args(&paths));
    assert!(!output.status.success());
    // The archive records them as holes, under the same names.
    server.flush_logs();
    archive.archive(&server.datadir());
    let recorded = || archive.ls(&[]).len() == 4;
    eventually("the holes are recorded", recorded);
    let now = names(&shown(&mounted));
    assert_eq!(now[..4], names(&paths));
    assert_eq!(now[4..], ["binlog.000005"]);
    assert_eq!(errno(File::open(&paths[1])), libc::EIO);
}

#[test]
fn after_a_reset_the_old_history_stays_and_the_new_one_wants_a_new_mount() {
    let archive = Archive::in_memory(true);
    let server = Server::new();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT)");
    server.flush_logs();
    archive.archive(&server.datadir());
    server.sql("INSERT INTO d.t VALUES (1)");
    let mounted = mount_with_local(&archive, &server.datadir());
    let before = shown(&mounted);
    assert_eq!(before.len(), 2);
    let bytes: Vec<_> = before
        .iter()
        .map(|path| fs::read(path).expect("reads"))
        .collect();
    server.sql("RESET BINARY LOGS AND GTIDS; INSERT INTO d.t VALUES (2); FLUSH BINARY LOGS; INSERT INTO d.t VALUES (3)");
    assert_eq!(shown(&mounted), before);
    assert!(
        fs::read(&before[0]).expect("reads") == bytes[0],
        "the archive's"
    );
    assert!(
        same_but_for_in_use(&fs::read(&before[1]).expect("reads"), &bytes[1]),
        "the active one was held open"
    );
    drop(mounted);
    let said = refusal(&archive, &server.datadir());
    assert!(
        said.contains("reset") && said.contains("mount again"),
        "{said}"
    );
    archive.archive(&server.datadir());
    let mounted = mount_with_local(&archive, &server.datadir());
    let paths = shown(&mounted);
    assert_eq!(names(&paths), ["binlog.000001", "binlog.000002"]);
    assert!(replay(&paths) == replay(&server.binlogs()));
    drop(mounted);
    let other = Server::new();
    other.flush_logs();
    assert!(
        !refusal(&archive, &other.datadir()).is_empty(),
        "another server"
    );
}

#[test]
fn a_torn_transaction_is_never_seen() {
    let archive = Archive::in_memory(false);
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 500);
    archive.archive(server.dir());
    server.rotate(3, 500);
    let [.., closed] = &server.closed()[..] else {
        panic!("there is one")
    };
    let whole = fs::read(closed).expect("reads");
    // As if it were the active one, and written piece by piece.
    let index = server.index_file();
    let text = fs::read_to_string(&index).expect("reads");
    let without_last: Vec<&str> = text.lines().take(2).collect();
    fs::write(&index, without_last.join("\n") + "\n").expect("writes");
    let piece = whole.len() / 40;
    fs::write(closed, &whole[..piece]).expect("writes");
    let mounted = mount_with_local(&archive, server.dir());
    let active = shown(&mounted).last().expect("there").clone();
    let mut file = File::options().append(true).open(closed).expect("opens");
    let mut sizes = Vec::new();
    for piece in whole[piece..].chunks(piece) {
        file.write_all(piece).expect("writes");
        let shown = fs::read(&active).expect("reads");
        assert!(whole.starts_with(&shown));
        sizes.push(shown.len());
    }
    sizes.dedup();
    assert!(
        (4..=7).contains(&sizes.len()),
        "the head and three transactions: {sizes:?}"
    );
    assert!(sizes.is_sorted());
}

#[test]
fn with_the_archiver_inside_one_mount_begins_the_stream_and_goes_on_archiving() {
    let archive = Archive::in_memory(true);
    let server = Server::new();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT)");
    server.flush_logs();
    let local = format!("--local={}", server.datadir().display());
    let state_dir = format!("--state-dir={}", archive.path("state").display());
    let recipient = format!("--recipient={}", archive.recipient());
    let options = [&local, "--refresh=1", "--archive", &recipient, &state_dir];
    let mounted = archive.mount_with(&options);
    for number in 1..=3 {
        server.sql(&format!("INSERT INTO d.t VALUES ({number})"));
        assert_eq!(shown(&mounted).len(), number + 1);
        assert!(replay(&shown(&mounted)) == replay(&server.binlogs()));
        eventually("it is archived", || {
            let output = archive.output(&["ls", &archive.url(), "--json"]);
            let listed = serde_json::from_slice::<Vec<serde_json::Value>>(&output.stdout);
            listed.is_ok_and(|listed| listed.len() == number)
        });
        server.flush_logs();
    }
    drop(mounted);
    // The state directory is free again once the archiver has ended.
    eventually("the archiver has ended", || {
        tools::output(&mut archive.archive_command(&server.datadir()))
            .status
            .success()
    });
    archive.verify();
}
