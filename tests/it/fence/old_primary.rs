//! Who goes on after a fence: the server that was left does not, the one that was promoted does.

use super::{fence, fenced, gtid, listed, read, rest_of};
use crate::archive::Archive;
use crate::synthetic::{SyntheticServer, uuid_of};
use crate::tools::{self, errno, eventually};
use binlogfs::model::GtidSet;
use std::fs;
use std::path::PathBuf;

/// Ten transactions of server 1 in three files, archived: the last two, in the last file, were never replicated.
fn unreplicated() -> (Archive, SyntheticServer, GtidSet) {
    let archive = Archive::plain();
    let mut first = SyntheticServer::new(&archive.data(), 1, "binlog");
    first.rotate(4, 100);
    first.rotate(4, 100);
    let replicated = first.executed().clone();
    first.rotate(2, 100);
    archive.archive(first.dir());
    (archive, first, replicated)
}

fn promoted(archive: &Archive, executed: GtidSet) -> SyntheticServer {
    let dir = archive.path("second");
    fs::create_dir(&dir).expect("writable");
    SyntheticServer::starting_at(&dir, 2, "binlog", 1, executed)
}

/// What `archive` says on stderr. Its exit code is that of a finding if a timeline begins, and only then.
#[track_caller]
fn archived(archive: &Archive, server: &SyntheticServer) -> String {
    let output = tools::output(&mut archive.archive_command(server.dir()));
    let said = tools::excerpt(&output.stderr);
    let code = if said.contains(" begins timeline ") {
        3
    } else {
        0
    };
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn status(archive: &Archive) -> (Option<i32>, String) {
    let output = archive.output(&["status", &archive.url()]);
    (output.status.code(), tools::excerpt(&output.stdout))
}

#[test]
fn behind_a_fence_the_new_primary_joins_and_the_old_one_is_kept_apart() {
    let (archive, mut first, replicated) = unreplicated();
    let mut second = promoted(&archive, replicated);
    second.rotate(3, 100);
    let plan = fenced(&archive, &["--gtid", &gtid(1, 9), "--execute"]);
    assert_eq!(plan["leaves"]["gtids"], gtid(1, 9) + "-10");
    // The old primary goes on writing before anybody has joined.
    first.rotate(1, 100);
    let said = archived(&archive, &first);
    assert!(said.contains("goes on behind the fence"), "{said}");
    assert!(said.contains("kept as timeline 2"), "{said}");
    let finding = "binlog.000004 begins timeline 2, beside timeline 1, which goes on without it";
    assert!(said.contains(finding), "{said}");
    let said = archived(&archive, &second);
    assert!(said.contains("continues timeline 1"), "{said}");
    // Both go on where they are.
    first.rotate(1, 100);
    assert!(!archived(&archive, &first).contains("timeline"));
    second.rotate(2, 100);
    assert!(!archived(&archive, &second).contains("timeline"));

    let names: Vec<String> = listed(&archive, &[])
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names[..3],
        ["binlog.000001", "binlog.000002", "binlog.000003"]
    );
    assert_eq!(names.len(), 5, "{names:?}");
    let position = plan["position"].as_u64().expect("a position");
    let [one, two, three] = [0, 1, 2].map(|n| read(&first.closed()[n]));
    let cut = three[..usize::try_from(position).expect("small")].to_vec();
    let [four, five] = [0, 1].map(|n| read(&second.closed()[n]));
    let mounted = archive.mount();
    let whole: Vec<u8> = names
        .iter()
        .flat_map(|name| read(mounted.dir().join(name)))
        .collect();
    assert!(
        whole == [one, two, cut, four, five].concat(),
        "one replayable order"
    );
    for (name, n) in [("binlog.000004", 3), ("binlog.000005", 4)] {
        let late = mounted.dir().join(".timeline/2").join(name);
        assert!(read(&late) == read(&first.closed()[n]), "{name} is kept");
    }
    let recovered = archive.json("plan", &["--to-end"], 0).to_string();
    let both = [
        format!("{}:1-8", uuid_of(1)),
        format!("{}:9-13", uuid_of(2)),
    ];
    assert!(
        both.iter().all(|set| recovered.contains(set)),
        "{recovered}"
    );
    assert!(!recovered.contains(&gtid(1, 9)), "{recovered}");
    let (code, said) = status(&archive);
    assert_eq!(code, Some(3), "{said}");
    let only = format!("{}:11-12 (late tail, timeline 2)", uuid_of(1));
    assert!(said.contains(&only), "{said}");
    archive.verify();
}

#[test]
fn a_fence_at_the_end_keeps_the_old_primary_out_before_it_has_written_anything() {
    let archive = Archive::plain();
    let mut first = SyntheticServer::new(&archive.data(), 1, "binlog");
    first.rotate(4, 100);
    let replicated = first.executed().clone();
    archive.archive(first.dir());
    let plan = fenced(&archive, &["--end", "--execute"]);
    assert_eq!(plan["leaves"]["bytes"], 0, "{plan:#}");
    first.rotate(2, 100);
    let said = archived(&archive, &first);
    assert!(said.contains("goes on behind the fence"), "{said}");
    let mut second = promoted(&archive, replicated);
    second.rotate(3, 100);
    let said = archived(&archive, &second);
    assert!(said.contains("continues timeline 1"), "{said}");
    assert_eq!(listed(&archive, &[]).len(), 2);
    // The promoted server itself may be left in its turn.
    fenced(&archive, &["--end", "--execute"]);
    second.rotate(1, 100);
    let said = archived(&archive, &second);
    assert!(said.contains("goes on behind the fence"), "{said}");
    assert_eq!(listed(&archive, &[]).len(), 2);
    archive.verify();
}

#[test]
fn a_server_that_replicated_what_left_does_not_join() {
    let (archive, first, replicated) = unreplicated();
    fenced(&archive, &["--gtid", &gtid(1, 9), "--execute"]);
    // A replica of the old primary, which had all of it.
    let dir = archive.path("third");
    fs::create_dir(&dir).expect("writable");
    let mut third = SyntheticServer::starting_at(&dir, 3, "binlog", 1, first.executed().clone());
    third.rotate(1, 100);
    let said = archived(&archive, &third);
    assert!(said.contains("goes on behind the fence"), "{said}");
    let mut second = promoted(&archive, replicated);
    second.rotate(1, 100);
    let said = archived(&archive, &second);
    assert!(said.contains("continues timeline 1"), "{said}");
}

#[test]
fn what_another_history_goes_on_from_is_not_cut_off() {
    let (archive, _, replicated) = unreplicated();
    // Nobody set a fence: the promoted server has begun a timeline of its own.
    let mut second = promoted(&archive, replicated);
    second.rotate(3, 100);
    let said = archived(&archive, &second);
    assert!(said.contains("timeline 2 begins"), "{said}");
    let finding = "binlog.000001 begins timeline 2, which does not go on from timeline 1";
    assert!(said.contains(finding), "{said}");
    let (_, said) = status(&archive);
    let lost = format!("has left timeline 1, and lacks its {}:9-10", uuid_of(1));
    assert!(said.contains(&lost), "{said}");
    let timeline = ["--timeline", "1"];
    let output = fence(
        &archive,
        &[&timeline[..], &["--gtid", &gtid(1, 5)]].concat(),
    );
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("timeline 2 left timeline 1"), "{said}");
    assert!(said.contains(&format!("{}:5-8", uuid_of(1))), "{said}");
    let done = fenced(
        &archive,
        &[&timeline[..], &["--gtid", &gtid(1, 9), "--execute"]].concat(),
    );
    assert_eq!(done["leaves"]["gtids"], gtid(1, 9) + "-10");
    let mounted = archive.mount();
    let files = fs::read_dir(mounted.dir()).expect("listed").count();
    assert_eq!(files, 1, "the root is timeline 2 as before");
    let old: PathBuf = mounted.dir().join(".timeline/1");
    assert_eq!(fs::read_dir(old).expect("listed").count(), 3);
}

#[test]
fn the_local_files_of_a_server_that_was_left_are_not_shown_as_the_history() {
    let (archive, first, _) = unreplicated();
    fenced(&archive, &["--gtid", &gtid(1, 9), "--execute"]);
    let data = first.dir().to_str().expect("text").to_owned();
    let dir = archive.path("mnt").display().to_string();
    let output = archive.output(&["mount", &archive.url(), &dir, "--local", &data]);
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("was ended by a fence"), "{said}");
}

#[test]
fn a_fence_that_is_set_while_local_files_are_shown_takes_away_those_behind_it() {
    let (archive, mut first, _) = unreplicated();
    let local = format!("--local={}", first.dir().display());
    let mounted = archive.mount_with(&[&local, "--refresh=1"]);
    first.rotate(2, 100);
    let shown = || {
        let entries = fs::read_dir(mounted.dir()).expect("lists");
        let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("text");
        let mut names: Vec<String> = entries.map(|e| name(e.expect("an entry"))).collect();
        names.sort();
        names
    };
    assert_eq!(shown().len(), 5, "two of them are not archived");
    let fourth = mounted.dir().join("binlog.000004");
    let open = fs::File::open(&fourth).expect("opens");
    fenced(&archive, &["--gtid", &gtid(1, 7), "--execute"]);
    // The third is behind the fence: the fourth must not follow on the second.
    eventually("the fence is seen", || {
        shown() == ["binlog.000001", "binlog.000002"]
    });
    assert_eq!(errno(fs::File::open(&fourth)), libc::ENOENT);
    let own = read(&first.closed()[3]);
    assert_eq!(open.metadata().expect("stats").len(), own.len() as u64);
    assert!(rest_of(&open) == own, "what is open reads on");
    // Nor does what is written from now on.
    first.rotate(1, 100);
    assert_eq!(shown().len(), 2);
}
