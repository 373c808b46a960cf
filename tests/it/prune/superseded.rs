//! Objects that later records have replaced: they go after their grace, unless what replaced them is gone or they are locked.

use super::*;
use std::path::Path;

/// An archive whose second segment was damaged, and healed from a replica under a new key; and the replica.
fn healed() -> (Archive, String) {
    let (archive, _) = archived(Archive::encrypted(), 3);
    let (url, copy) = (
        archive.url(),
        format!("file://{}", archive.path("copy").display()),
    );
    tools::run(&mut archive.command(&["replicate", &url, "--to", &copy]));
    let object = archive.bucket().join(object(&archive, 1));
    let mut bytes = fs::read(&object).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&object, bytes).expect("writable");
    run(
        &archive,
        &["verify", &url, "--deep", "--repair", "--replica", &copy],
        0,
    );
    (archive, copy)
}

fn object(archive: &Archive, at: usize) -> String {
    archive.ls(&[])[at]["object"]
        .as_str()
        .expect("a key")
        .to_owned()
}

fn superseded(archive: &Archive, more: &[&str], code: i32) -> Value {
    let told = prune(archive, &[&["--superseded"], more].concat(), code);
    told["superseded"].clone()
}

#[test]
fn the_damaged_object_of_a_healed_segment_goes_after_its_grace() {
    let (archive, copy) = healed();
    assert_eq!(objects(&archive).len(), 4);
    let report = archive.json("verify", &["--orphans"], 0);
    assert_eq!(
        report["superseded"][0]["segment"], "binlog.000002",
        "{report:#}"
    );
    assert_eq!(
        report["superseded"][0]["replaced_by"],
        object(&archive, 1).as_str()
    );
    let url = archive.url();
    let text = refused(&archive, &["verify", &url, "--orphans"], 0);
    let command = format!("'binlogfs prune {url} --superseded --execute'");
    assert!(text.contains(&command), "{text}");
    // A day by default, and nothing else that prune does is done or asked for.
    assert_eq!(superseded(&archive, &["--execute"], 0)["waiting"], 1);
    assert_eq!(objects(&archive).len(), 4);
    let told = superseded(&archive, &["--execute", "--grace", "0s"], 0);
    assert_eq!(
        (&told["objects"], &told["waiting"]),
        (&1.into(), &0.into()),
        "{told:#}"
    );
    assert_eq!(objects(&archive).len(), 3);
    archive.verify();
    assert_eq!(
        superseded(&archive, &["--execute", "--grace", "0s"], 0)["objects"],
        0
    );
    for more in [&["--execute"][..], &[]] {
        let text = refused(
            &archive,
            &[&["prune", &url, "--superseded"], more].concat(),
            0,
        );
        assert!(text.contains("there is nothing to delete"), "{text}");
    }
    // A replica that comes later misses nothing.
    tools::run(&mut archive.command(&["replicate", &url, "--to", &copy]));
    tools::run(&mut archive.command(&["verify", &copy, "--deep"]));
    let other = format!("file://{}", archive.path("other").display());
    tools::run(&mut archive.command(&["replicate", &url, "--to", &other]));
    tools::run(&mut archive.command(&["verify", &other, "--deep", "--orphans"]));
}

#[test]
fn a_run_that_prunes_takes_them_too_and_asks_for_a_backup_as_ever() {
    let (archive, _) = healed();
    let url = archive.url();
    let said = refused(&archive, &["prune", &url, "--execute", "--grace", "0s"], 1);
    assert!(said.contains("no registered backup"), "{said}");
    assert_eq!(objects(&archive).len(), 4);
    backup(&archive, "one", 25, 0);
    let did = prune(&archive, &["--execute", "--grace", "0s"], 0);
    assert_eq!(did["superseded"]["objects"], 1, "{did:#}");
    assert_eq!(objects(&archive).len(), 3);
    archive.verify();
    for more in [
        ["--superseded", "--keep=1s"],
        ["--superseded", "--keep-backups=1"],
    ] {
        let said = refused(&archive, &[&["prune", &url], &more[..]].concat(), 2);
        assert!(said.contains("cannot be used with"), "{said}");
    }
}

#[test]
fn where_the_object_in_force_is_gone_or_another_the_old_one_stays() {
    let (archive, _) = healed();
    let new = archive.bucket().join(object(&archive, 1));
    let right = fs::read(&new).expect("readable");
    let url = archive.url();
    let stays = |why: &str| {
        let told = superseded(&archive, &["--execute", "--grace", "0s"], 3);
        let needed = &told["needed"][0];
        assert_eq!(needed["name"], "binlog.000002", "{told:#}");
        assert_eq!(needed["why"], why);
        assert_eq!(told["objects"], 0);
        let text = refused(
            &archive,
            &["prune", &url, "--superseded", "--execute", "--grace", "0s"],
            3,
        );
        assert!(text.contains("which replaced it, is not"), "{text}");
    };
    fs::remove_file(&new).expect("removable");
    stays("is not there");
    assert_eq!(objects(&archive).len(), 3);
    write(&new, &right[1..]);
    stays("is not the one recorded");
    write(&new, &right);
    assert_eq!(
        superseded(&archive, &["--execute", "--grace", "0s"], 0)["objects"],
        1
    );
    archive.verify();
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("writable");
}
