//! The tools that people have, on a mount of real binlogs: what each prints is what it prints of the server's files.

use crate::archive::{Archive, Mounted};
use crate::random::Random;
use crate::{corpus, mysql, tools};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice::from_ref;

/// Binlogs as the server left them, and the mount that shows the closed ones.
struct Shown {
    closed: Vec<PathBuf>,
    mounted: Mounted,
    // Removed after the mount is gone.
    archive: Archive,
}

fn show(snapshot: &str) -> Shown {
    let snapshot = corpus::snapshot(snapshot);
    let archive = Archive::in_memory(true);
    archive.archive(&snapshot.dir);
    Shown {
        closed: snapshot.closed(),
        mounted: archive.mount(),
        archive,
    }
}

impl Shown {
    /// The mounted files, in order.
    fn files(&self) -> Vec<PathBuf> {
        let name = |path: &PathBuf| self.dir().join(path.file_name().expect("a name"));
        self.closed.iter().map(name).collect()
    }

    fn dir(&self) -> &Path {
        self.mounted.dir()
    }

    /// Both in pairs: the server's file, the mounted one.
    fn pairs(&self) -> Vec<(PathBuf, PathBuf)> {
        self.closed.iter().cloned().zip(self.files()).collect()
    }

    /// An empty directory beside the mount.
    fn new_dir(&self, name: &str) -> PathBuf {
        let dir = self.archive.path(name);
        fs::create_dir(&dir).expect("the temporary directory is writable");
        dir
    }

    /// Fails unless `dir` has the server's closed files, byte for byte, and nothing else.
    fn assert_copied_to(&self, dir: &Path) {
        assert_eq!(
            fs::read_dir(dir).expect("readable").count(),
            self.closed.len()
        );
        for (server, mounted) in self.pairs() {
            let copy = dir.join(server.file_name().expect("a name"));
            assert_same_bytes(&server, &copy);
            assert_eq!(modified(&copy), modified(&mounted), "{}", copy.display());
        }
    }
}

fn assert_same_bytes(one: &Path, other: &Path) {
    let read = |path| fs::read(path).expect("readable");
    assert!(
        read(one) == read(other),
        "{} differs from {}",
        other.display(),
        one.display()
    );
}

fn modified(path: &Path) -> (i64, i64) {
    let meta = path.metadata().expect("there");
    (meta.mtime(), meta.mtime_nsec())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the paths of tests are text")
}

/// The names of `files`.
fn names(files: &[PathBuf]) -> Vec<PathBuf> {
    let name = |path: &PathBuf| path.file_name().expect("a name").into();
    files.iter().map(name).collect()
}

/// What a program prints, given `arguments` and after them `paths`; it must end well.
fn printed(program: &str, arguments: &[&str], paths: &[PathBuf]) -> String {
    let mut command = Command::new(program);
    command.env("TZ", "UTC").env("LC_ALL", "C");
    tools::run_text(command.args(arguments).args(paths))
}

/// What mysqlbinlog prints of `files`.
fn replayed(arguments: &[&str], files: &[PathBuf]) -> String {
    let mut command = mysql::mysqlbinlog();
    command.env("TZ", "UTC").arg("--verify-binlog-checksum");
    tools::run_text(command.args(arguments).args(files))
}

/// The time of the last event that mysqlbinlog prints of a file, as `260131  7:05:09`.
fn time_of_last_event(file: &Path) -> String {
    let text = replayed(&[], &[file.to_owned()]);
    let is_event = |line: &&str| line.starts_with('#') && line.contains(" server id ");
    let last = text.lines().rfind(is_event).expect("events");
    last[1..]
        .split(" server id ")
        .next()
        .expect("first")
        .to_owned()
}

#[test]
fn cp_rsync_and_tar_copy_bytes_and_times_and_a_second_rsync_finds_nothing_to_do() {
    let shown = show("blobs");
    let copied = shown.new_dir("cp");
    let target = copied.to_str().expect("text");
    printed(
        "cp",
        &["--preserve=timestamps", "-t", target],
        &shown.files(),
    );
    shown.assert_copied_to(&copied);

    let synced = shown.new_dir("rsync");
    let from = PathBuf::from(format!("{}/", shown.dir().display()));
    let rsync = |arguments: &[&str]| printed("rsync", arguments, &[from.clone(), synced.clone()]);
    let transferred = |report: &str| {
        let line = report
            .lines()
            .find_map(|line| line.strip_prefix("Number of regular files transferred: "));
        line.expect("--stats tells")
            .parse::<usize>()
            .expect("a number")
    };
    assert_eq!(transferred(&rsync(&["-a", "--stats"])), shown.closed.len());
    shown.assert_copied_to(&synced);
    assert_eq!(transferred(&rsync(&["-a", "--stats"])), 0);
    let different = rsync(&["-a", "--dry-run", "--itemize-changes", "--checksum"]);
    assert_eq!(different, "", "by content, too");

    let unpacked = shown.new_dir("tar");
    let all = shown.archive.path("all.tar");
    let create = ["-C", text(shown.dir()), "--format=posix", "-cf", text(&all)];
    printed("tar", &create, &names(&shown.closed));
    printed("tar", &["-C", text(&unpacked), "-xf", text(&all)], &[]);
    shown.assert_copied_to(&unpacked);
}

#[test]
fn sha256sum_gives_what_the_attribute_says_and_stat_and_du_what_the_files_are() {
    let shown = show("blobs");
    let files = shown.files();
    let sums = printed("sha256sum", &[], &files);
    for ((server, mounted), line) in shown.pairs().iter().zip(sums.lines()) {
        let attributes = printed("getfattr", &["-d", "--absolute-names"], from_ref(mounted));
        let of = |name: &str| {
            let prefix = format!("user.binlogfs.{name}=\"");
            let line = attributes
                .lines()
                .find_map(|line| line.strip_prefix(&prefix));
            line.map(|value| value.trim_end_matches('"').to_owned())
        };
        assert_eq!(of("sha256").as_deref(), line.split(' ').next(), "{line}");
        let name = server
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert_eq!(of("file"), Some(name));
        assert_eq!(of("state").as_deref(), Some("archived"));
        let stat = printed("stat", &["-c", "%s %a %h %F"], from_ref(mounted));
        let bytes = server.metadata().expect("there").len();
        assert_eq!(stat, format!("{bytes} 440 1 regular file\n"));
    }
    let total = |text: String| {
        let last = text.lines().next_back().expect("a total").to_owned();
        last.split('\t')
            .next()
            .expect("a number")
            .parse::<u64>()
            .expect("a number")
    };
    let apparent = total(printed("du", &["-c", "-b"], &files));
    assert_eq!(apparent, total(printed("du", &["-c", "-b"], &shown.closed)));
    let taken = total(printed("du", &["-c", "-B1"], &files));
    let blocks: u64 = files
        .iter()
        .map(|file| file.metadata().expect("there").blocks())
        .sum();
    assert_eq!(taken, blocks * 512);
    assert!(
        taken < apparent / 2,
        "what the store takes: {taken} of {apparent}"
    );
    assert_eq!(
        printed("grep", &["-a", "-c", "-h", "INSERT\\|sbtest"], &files),
        printed(
            "grep",
            &["-a", "-c", "-h", "INSERT\\|sbtest"],
            &shown.closed
        )
    );
}

#[test]
fn ls_shows_when_each_file_ended_and_find_picks_by_it() {
    let shown = show("tiny");
    let listed = printed(
        "ls",
        &["-l", "--time-style=full-iso"],
        &[shown.dir().to_owned()],
    );
    let mut lines = listed.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("total ")));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), shown.closed.len());
    // One of each group, and both ends: mysqlbinlog is asked about each.
    for n in [0, 60, 100, 180, shown.closed.len() - 1] {
        let server = &shown.closed[n];
        let fields: Vec<&str> = lines[n].split_whitespace().collect();
        let [mode, _, _, _, size, date, time, zone, name] = fields[..] else {
            panic!("{}", lines[n]);
        };
        assert_eq!(mode, "-r--r-----");
        assert_eq!(name, server.file_name().expect("a name"));
        assert_eq!(size, server.metadata().expect("there").len().to_string());
        let (date, hour) = (
            date[2..].replace('-', ""),
            time[..8].trim_start_matches('0'),
        );
        let hour = hour
            .strip_prefix(':')
            .map_or(hour.to_owned(), |_| format!("0{hour}"));
        assert_eq!(format!("{date} {hour:>8}"), time_of_last_event(server));
        assert_eq!(zone, "+0000");
    }
    let times: Vec<_> = shown.files().iter().map(|file| modified(file)).collect();
    assert!(times.is_sorted(), "`ls` is a timeline");
    let reference = shown.files()[100].clone();
    let (dir, than) = (text(shown.dir()), text(&reference));
    let found = printed("find", &[dir, "-type", "f", "-newer", than], &[]);
    let mut newer: Vec<PathBuf> = found.lines().map(PathBuf::from).collect();
    newer.sort();
    let expected: Vec<PathBuf> = shown
        .files()
        .into_iter()
        .filter(|file| modified(file) > modified(&reference))
        .collect();
    assert_eq!(newer, expected);
    assert!(newer.len() >= 80, "the third group: {}", newer.len());
}

#[test]
fn mysqlbinlog_finds_times_and_positions_in_many_files() {
    let shown = show("tiny");
    let files = shown.files();
    let both = |arguments: &[&str]| {
        let text = replayed(arguments, &files);
        assert!(text == replayed(arguments, &shown.closed), "{arguments:?}");
        text
    };
    let all = both(&["-vv"]);
    // The second group began after the first file of it did, and ended before the third.
    let at = |n: usize| {
        let seconds = shown.files()[n].metadata().expect("there").mtime();
        let time = jiff::Timestamp::from_second(seconds).expect("a time");
        time.strftime("%F %T").to_string()
    };
    let (start, stop) = (at(80), at(170));
    let some = both(&[
        "-vv",
        &format!("--start-datetime={start}"),
        &format!("--stop-datetime={stop}"),
    ]);
    assert!(some.contains("'2.40'") && all.contains("'2.40'"));
    for other in ["'1.10'", "'3.40'"] {
        assert!(all.contains(other) && !some.contains(other), "{other}");
    }
    // Positions are of the first and of the last file.
    let positions = |text: &str| -> Vec<String> {
        let at = text.lines().filter_map(|line| line.strip_prefix("# at "));
        at.map(str::to_owned).collect()
    };
    let first = positions(&replayed(&[], &shown.closed[..1]));
    let last = positions(&replayed(&[], &shown.closed[shown.closed.len() - 1..]));
    let (from, until) = (&first[2], &last[last.len() - 2]);
    let part = both(&[
        &format!("--start-position={from}"),
        &format!("--stop-position={until}"),
    ]);
    let (part, all) = (positions(&part), positions(&all));
    // The description of the first file comes before all, wherever the rest begins.
    assert!(part[1..] == all[2..all.len() - 2]);
}

#[test]
fn cat_into_mysqlbinlog_replays_more_files_than_an_argument_list_holds() {
    let shown = show("tiny");
    // Long names fill the list sooner, and so does a small stack: a quarter of it is the list's.
    let mut long = shown.archive.path("long");
    for letter in ["a", "b", "c"] {
        long.push(letter.repeat(200));
    }
    fs::create_dir_all(&long).expect("the temporary directory is writable");
    symlink(shown.dir(), long.join("mnt")).expect("the temporary directory is writable");
    let in_shell = |script: &str| {
        let mysqlbinlog = mysql::mysqlbinlog();
        let mut words = vec![mysqlbinlog.get_program().to_owned()];
        words.extend(mysqlbinlog.get_args().map(ToOwned::to_owned));
        let mut shell = shown.archive.command(&[]);
        let binlogfs = shell.get_program().to_owned();
        let identity = shown.archive.key();
        shell = Command::new("bash");
        shell
            .args(["-c", &format!("set -o pipefail; {script}"), "bash"])
            .args(words)
            .envs(crate::s3::credentials())
            .env("BINLOGFS", binlogfs)
            .env("URL", shown.archive.url())
            .env("KEY", identity)
            .env("CACHE", shown.archive.path("cache"))
            .env("MOUNT", long.join("mnt"))
            .env("LC_ALL", "C");
        tools::output(&mut shell)
    };
    let refused = in_shell("ulimit -s 512; \"$@\" \"$MOUNT\"/*");
    assert_eq!(refused.status.code(), Some(126));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("Argument list too long"), "{said}");
    let streamed = in_shell(
        "\"$BINLOGFS\" cat \"$URL\" --identity \"$KEY\" --cache-dir \"$CACHE\" | \"$@\" --verify-binlog-checksum -vv -",
    );
    assert!(
        streamed.status.success(),
        "{}",
        tools::excerpt(&streamed.stderr)
    );
    // Positions in the stream are not those in the files.
    let without_positions = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("# at "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let streamed = String::from_utf8_lossy(&streamed.stdout);
    let of_files = replayed(&["-vv"], &shown.closed);
    assert!(of_files.contains("'3.79'"));
    assert!(without_positions(&streamed) == without_positions(&of_files));
}

#[test]
fn readers_at_once_each_get_the_servers_bytes() {
    const READERS: u64 = 6;
    const READS: u64 = 60;
    let shown = show("blobs");
    let pairs: Vec<(Vec<u8>, PathBuf)> = shown
        .pairs()
        .into_iter()
        .map(|(server, mounted)| (fs::read(server).expect("readable"), mounted))
        .collect();
    let seed = Random::seeded().next();
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let pairs = &pairs;
            scope.spawn(move || {
                let mut random = Random::of(seed ^ reader);
                for _ in 0..READS {
                    let (bytes, mounted) = &pairs[random.below(pairs.len() as u64) as usize];
                    let from = random.below(bytes.len() as u64) as usize;
                    let end = (from + 1 + random.below(300_000) as usize).min(bytes.len());
                    let mut got = vec![0; end - from];
                    let file = File::open(mounted).expect("opens");
                    file.read_exact_at(&mut got, from as u64).expect("reads");
                    assert!(got == bytes[from..end], "{} from {from}", mounted.display());
                }
            });
        }
        // And in order, as most do.
        for (server, mounted) in shown.pairs() {
            scope.spawn(move || printed("cmp", &[], &[server, mounted]));
        }
    });
}
