//! What fences took out: it stays, its cost is told, and it goes only when that is asked for and its timeline was pruned past it.

use super::*;

/// A third file of server 1 behind a fence in its second, and three files of server 2, which goes on from there. A backup of all but the
/// last file.
fn continued() -> Archive {
    let (archive, _) = archived(Archive::plain(), 3);
    let url = archive.url();
    let first_lost = format!("{}:15", uuid_of(1));
    let fence = ["fence", &url, "--reason", "db1 was lost", "--execute"];
    let at = ["--gtid", &first_lost];
    run(&archive, &[&fence[..], &at].concat(), 0);
    let dir = archive.path("second");
    fs::create_dir(&dir).expect("writable");
    let replicated = format!("{}:1-14", uuid_of(1)).parse().expect("a set");
    let mut second = SyntheticServer::starting_at(&dir, 2, "binlog", 1, replicated);
    (0..2).for_each(|_| second.rotate(TRANSACTIONS, 200));
    let backed_up = second.executed().to_string();
    second.rotate(TRANSACTIONS, 200);
    archive.archive(second.dir());
    let add = ["backup", "add", &url, "--place", "tape", "--id", "one"];
    let set = ["--gtid-set", &backed_up];
    run(&archive, &[&add[..], &set].concat(), 0);
    archive
}

/// Objects, and those of them that can go, of what `verify --orphans` tells of fences.
fn told(archive: &Archive) -> (u64, u64) {
    let fenced = archive.json("verify", &["--orphans"], 0)["fenced"].clone();
    let number = |key: &str| fenced[key].as_u64().expect("a number");
    assert_eq!(number("bytes") > 0, number("objects") > 0, "{fenced}");
    (number("objects"), number("pruned"))
}

#[test]
fn what_a_fence_took_out_stays_until_its_timeline_was_pruned_past_it_and_that_is_asked_for() {
    let archive = continued();
    let url = archive.url();
    let now = ["--execute", "--grace", "0s"];
    let segments = || archive.keys("segments").len();
    assert_eq!((segments(), told(&archive)), (6, (1, 0)));
    let text = refused(&archive, &["verify", &url, "--orphans"], 0);
    assert!(text.contains("fenced: 1 object"), "{text}");
    assert!(!text.contains("prune"), "{text}");
    // Nothing is pruned yet, so nothing stands before it.
    let did = prune(&archive, &[&["--fenced"], &now[..]].concat(), 0);
    assert_eq!(did["removal"]["objects"], 0, "{did:#}");

    // The timeline is pruned past it, and it stays.
    let did = prune(&archive, &[&["--before", "-1s"], &now[..]].concat(), 0);
    assert_eq!(did["removal"]["objects"], 3, "{did:#}");
    assert_eq!((segments(), told(&archive)), (3, (1, 1)));
    assert_eq!(names(&archive, &["--fenced"]), ["3p"]);
    // As long as it is there, it is given out.
    let cat = ["cat", &url, "--fenced"];
    let whole = tools::run(&mut archive.command(&cat));
    assert!(whole.starts_with(b"\xfebin"), "{} bytes", whole.len());
    let text = refused(&archive, &["verify", &url, "--orphans"], 0);
    let command = format!("'binlogfs prune {url} --fenced --execute'");
    assert!(text.contains(&command), "{text}");
    archive.verify();

    // Asked for: told, then after the grace.
    let would = prune(&archive, &["--fenced", "--grace", "0s"], 0);
    assert_eq!(would["removal"]["objects"], 1, "{would:#}");
    let waits = prune(&archive, &["--fenced", "--execute"], 0);
    assert_eq!(waits["removal"]["waiting"], 1, "{waits:#}");
    assert_eq!(segments(), 3);
    let did = prune(&archive, &[&["--fenced"], &now[..]].concat(), 0);
    assert_eq!(did["removal"]["objects"], 1, "{did:#}");
    assert_eq!((segments(), told(&archive)), (2, (0, 0)));
    archive.verify();
    // Then it is told what became of it, as of what was pruned in the usual way.
    for more in [&[][..], &["binlog.000003"]] {
        let text = refused(&archive, &[&cat[..], more].concat(), 1);
        for says in [
            "binlog.000003 cannot be read",
            "was pruned on",
            "'binlogfs prune --fenced' has deleted its object",
            "nothing was written",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
    }
    for fenced in [&[][..], &["--fenced"]] {
        let cat = ["cat", &url, "binlog.000002"];
        let text = refused(&archive, &[&cat[..], fenced].concat(), 1);
        assert!(text.contains("binlog.000002 was pruned on"), "{text}");
    }
    let copy = format!("file://{}", archive.path("copy").display());
    run(&archive, &["replicate", &url, "--to", &copy], 0);
}

#[test]
fn a_backup_that_needs_what_was_pruned_keeps_what_is_fenced_too() {
    let archive = continued();
    let url = archive.url();
    backup(&archive, "early", 5, 0);
    let record = |id: &str| archive.bucket().join(format!("backups/{id}.json"));
    let text = fs::read_to_string(record("early")).expect("there");
    run(&archive, &["backup", "remove", &url, "early"], 0);
    prune(&archive, &["--before", "-1s", "--execute"], 0);
    // As a host would have done that looked before the record was there.
    fs::write(record("raced"), text.replace("\"early\"", "\"raced\"")).expect("writable");
    let now = ["--fenced", "--execute", "--grace", "0s"];
    let did = prune(&archive, &now, 3);
    assert_eq!(did["removal"]["objects"], 0, "{did:#}");
    let blocked = &did["removal"]["blocked"][0];
    assert_eq!(blocked["backup"], "raced", "{did:#}");
    assert_eq!(blocked["objects"], 4, "{did:#}");
    assert_eq!(archive.keys("segments").len(), 6);
    run(&archive, &["backup", "remove", &url, "raced"], 0);
    let did = prune(&archive, &now, 0);
    assert_eq!(did["removal"]["objects"], 4, "{did:#}");
    assert_eq!(archive.keys("segments").len(), 2);
}
