//! A bucket that an attacker wrote, with hashes that hold: every command ends, in bounded memory, without a wrong byte, and
//! nothing is made outside the directories it was given.

mod victim;

use crate::tools;
use binlogfs::model::Sha256;
use serde_json::json;
use std::fs::{self, File};
use std::path::Path;
use victim::Victim;

#[test]
fn names_and_keys_that_lead_elsewhere_lead_nowhere() {
    let victim = Victim::new();
    // What an escaping key would reach is right in every hash.
    let object = victim
        .archive
        .bucket()
        .join(victim.record["object"]["key"].as_str().expect("a key"));
    fs::copy(&object, victim.archive.path("x")).expect("copied");
    let names = [
        "../../etc/passwd",
        "/etc/passwd",
        "binlog.000002\0",
        "binlog.000002/../../x",
        "binlog.000001",
        "..",
        ".",
        "",
        ".raw",
        ".timeline",
        "binlog.000002\n",
        "binlog.000001.0",
        "zzz.000002",
        &format!("binlog.{:0300}", 2),
    ];
    for name in names {
        let mut record = victim.record.clone();
        record["mount_name"] = json!(name);
        victim.plant(&record);
        victim.check(&format!("mount name {name:?}"));
    }
    for name in ["../../etc/passwd", "binlog.000002\0", "../x.000002"] {
        let mut record = victim.record.clone();
        record["file"] = json!(name);
        victim.plant(&record);
        victim.check(&format!("file {name:?}"));
    }
    for key in [
        "../x",
        "../../x",
        "/etc/passwd",
        "segments/../../x",
        "segments//x",
        "segments/\0",
        "",
        "ledger/x",
        "stream.json",
    ] {
        let mut record = victim.record.clone();
        record["object"]["key"] = json!(key);
        victim.plant(&record);
        victim.check(&format!("key {key:?}"));
    }
    if crate::archive::on_a_server() {
        // What its own files are is the server's matter.
        return;
    }
    // A symbolic link out of the bucket is not followed.
    victim.plant(&victim.record);
    fs::remove_file(&object).expect("removable");
    std::os::unix::fs::symlink(victim.archive.path("x"), &object).expect("linked");
    victim.check("a symbolic link as object");
}

#[test]
fn numbers_that_lie_cost_nothing() {
    let victim = Victim::new();
    let lies: [(&str, &[u64]); 7] = [
        ("/size", &[0, 1, 1 << 20, 1 << 40, 1 << 62, u64::MAX]),
        ("/object/size", &[0, 1, 1 << 40, u64::MAX]),
        (
            "/object/frame_size",
            &[0, 1, 4096, 1 << 24, u32::MAX as u64],
        ),
        ("/object/tail_offset", &[0, 1, 1 << 30, u64::MAX]),
        ("/object/header_size", &[1, 100, 8192, u64::MAX]),
        ("/number", &[0, 1, 1 << 31, u64::MAX]),
        ("/transactions", &[u64::MAX]),
    ];
    for (pointer, values) in lies {
        for value in values {
            let mut record = victim.record.clone();
            *record.pointer_mut(pointer).expect("it has that member") = json!(value);
            victim.plant(&record);
            victim.check(&format!("{pointer} {value}"));
        }
    }
    // A file of one frame is the same in larger frames.
    let mut record = victim.record.clone();
    record["object"]["frame_size"] = json!(8 << 20);
    victim.plant(&record);
    victim.check_reads("the largest frame size");
}

#[test]
fn members_that_lie_are_refused_or_found() {
    let victim = Victim::new();
    let huge_set = "00000000-0000-0000-0000-000000000001:1-9223372036854775806";
    let lies = [
        ("/timeline", json!(u32::MAX)),
        ("/incarnation", json!(u32::MAX)),
        ("/gtids", json!(huge_set)),
        ("/first_time", json!(i64::MIN)),
        ("/last_time", json!(i64::MAX)),
        ("/min_time", json!(i64::MIN)),
        ("/max_time", json!(i64::MAX)),
        ("/latest_commit", json!(i64::MAX)),
        ("/sha256", json!("00".repeat(32))),
        ("/head", json!("00".repeat(32))),
        ("/object/tail_sha256", json!("00".repeat(32))),
        ("/kind", json!("nonsense")),
        ("/format", json!(2)),
        ("/seq", json!(7)),
        ("/seq", json!(u64::MAX)),
    ];
    for (pointer, value) in lies {
        let mut record = victim.record.clone();
        *record.pointer_mut(pointer).expect("it has that member") = value.clone();
        victim.plant(&record);
        victim.check(&format!("{pointer} {value}"));
    }
    // When it was archived is nothing that the bytes could prove.
    for time in [i64::MIN, i64::MAX] {
        let mut record = victim.record.clone();
        record["archived_at"] = json!(time);
        victim.plant(&record);
        victim.check_reads(&format!("archived at {time}"));
    }
}

/// A zstd frame that claims to hold `plain_bytes`, and holds one byte.
fn bomb(plain_bytes: u64) -> Vec<u8> {
    // Magic; single segment with an 8-byte content size; a last block, run-length, of 128 KiB; its byte.
    let mut frame = 0xFD2F_B528_u32.to_le_bytes().to_vec();
    frame.push(0xE0);
    frame.extend_from_slice(&plain_bytes.to_le_bytes());
    let block: u32 = 1 | (1 << 1) | ((128 << 10) << 3);
    frame.extend_from_slice(&block.to_le_bytes()[..3]);
    frame.push(b'x');
    frame
}

/// The tail of an object of one frame, as the segment's format has it.
fn tail_of(frame: &[u8], claimed_bytes: u32) -> Vec<u8> {
    let mut content = b"BLFT".to_vec();
    for half in [1_u16, 1, 1] {
        content.extend_from_slice(&half.to_le_bytes());
    }
    content.extend_from_slice(&32_u32.to_le_bytes());
    content.extend_from_slice(&Sha256::of(frame).0);
    let mut tail = 0x184D_2A5D_u32.to_le_bytes().to_vec();
    tail.extend_from_slice(&(content.len() as u32).to_le_bytes());
    tail.extend_from_slice(&content);
    let words = [
        0x184D_2A5E,
        2 * 8 + 9,
        frame.len() as u32,
        claimed_bytes,
        tail.len() as u32,
        0,
        2,
    ];
    for word in words {
        tail.extend_from_slice(&word.to_le_bytes());
    }
    tail.push(0);
    tail.extend_from_slice(&0x8F92_EAB1_u32.to_le_bytes());
    tail
}

#[test]
fn a_frame_that_claims_a_terabyte_is_not_believed() {
    let victim = Victim::new();
    let object = victim
        .archive
        .bucket()
        .join(victim.record["object"]["key"].as_str().expect("a key"));
    for claim in [1 << 40, u64::MAX, 1 << 20, 5] {
        let frame = bomb(claim);
        let tail = tail_of(&frame, 1 << 20);
        fs::remove_file(&object).expect("removable");
        fs::write(&object, [frame.as_slice(), &tail].concat()).expect("writable");
        let mut record = victim.record.clone();
        record["size"] = json!(1 << 20);
        record["object"]["size"] = json!(frame.len() + tail.len());
        record["object"]["tail_offset"] = json!(frame.len());
        record["object"]["tail_sha256"] = json!(Sha256::of(&tail).to_string());
        victim.plant(&record);
        let what = format!("a frame that claims {claim} bytes");
        victim.check(&what);
        let said = victim.run(&what, &["cat", &victim.archive.url(), "binlog.000002"]);
        let said = tools::excerpt(&said.stderr);
        assert!(
            said.contains("frame"),
            "{what}: the tail was believed, the frame was not: {said}"
        );
    }
}

#[test]
fn objects_of_a_terabyte_where_small_ones_belong_are_not_read() {
    let victim = Victim::new();
    let bucket = victim.archive.bucket();
    let sparse = |path: &Path| {
        let _ = fs::remove_file(path);
        File::create(path)
            .and_then(|file| file.set_len(1 << 40))
            .expect("sparse files");
    };
    sparse(&bucket.join(format!("ledger/{:020}.json", 2)));
    victim.check("a record of a terabyte");
    victim.plant(&victim.record);
    sparse(&bucket.join(victim.record["object"]["key"].as_str().expect("a key")));
    victim.check("an object of a terabyte");
    let stream_file = fs::read(bucket.join("stream.json")).expect("readable");
    sparse(&bucket.join("stream.json"));
    victim.check("a stream.json of a terabyte");
    fs::remove_file(bucket.join("stream.json")).expect("removable");
    for basename in ["../x", "..", "a/b", &"x".repeat(400)] {
        let file = json!({ "format": 1, "stream_id": "00000000-0000-0000-0000-000000000001", "flavour": "mysql", "basename": basename, "created_at": 0 });
        fs::write(bucket.join("stream.json"), file.to_string()).expect("writable");
        let _ = fs::remove_dir_all(victim.archive.path("cache"));
        victim.check(&format!("basename {basename:?}"));
    }
    fs::write(bucket.join("stream.json"), stream_file).expect("writable");
    let _ = fs::remove_dir_all(victim.archive.path("cache"));
    // Names that are no keys, and directories without end, are passed over.
    fs::write(bucket.join("ledger/18446744073709551615.json"), b"{}").expect("writable");
    fs::create_dir_all(bucket.join("ledger").join("d/".repeat(200))).expect("writable");
    victim.check("odd names under ledger/");
}
