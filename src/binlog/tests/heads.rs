//! How a file begins.

use super::*;

#[test]
fn nothing_is_read_on_with_what_is_no_format_description() {
    let json = |hex: &str| serde_json::from_value::<FormatEvent>(serde_json::json!(hex));
    for hex in ["", "00", &"00".repeat(120)] {
        let format = json(hex).expect("bytes");
        assert!(Scanner::resume((), &format, 4).is_none(), "{hex}");
    }
    let bytes = sample();
    let format = scan(&bytes).index.format.expect("it has one");
    let text = serde_json::to_value(&format).expect("text");
    let text = text.as_str().expect("text");
    let (cut, longer) = (&text[..text.len() - 2], format!("{text}00"));
    for hex in [cut, &longer] {
        let format = json(hex).expect("bytes");
        assert!(Scanner::resume((), &format, 4).is_none(), "{hex}");
    }
    assert!(json(&"00".repeat(1000)).is_err() && json("zz").is_err());
}

#[test]
fn what_is_no_binlog_is_refused_by_name() {
    let mut encrypted = BinlogBuilder::mariadb();
    encrypted.event(kind::START_ENCRYPTION, 0, &[1; 17]);
    let mut v3 = b"\xfebin".to_vec();
    v3.extend_from_slice(&event_header(1, kind::START_V3, 1, 75, 79, 0));
    v3.extend_from_slice(&3_u16.to_le_bytes());
    v3.extend_from_slice(&[0; 54]);
    let mut flagged = sample();
    flagged[4 + 17] |= FLAG_RELAY_LOG as u8;
    let end = scan(&flagged[..4]).size as usize + record(&sample()).1.events[0].size as usize;
    let crc = crc32fast::hash(&flagged[4..end - 4]);
    flagged[end - 4..end].copy_from_slice(&crc.to_le_bytes());
    let mut relay =
        BinlogBuilder::new(Flavour::MySql, "5.5.62-log", ChecksumAlgorithm::None, 1_000);
    relay.time(0).event(
        kind::ROTATE,
        FLAG_ARTIFICIAL,
        b"\x04\0\0\0\0\0\0\0binlog.000001",
    );
    for (bytes, refusal) in [
        (b"# at 4\nnot a binlog".to_vec(), Refusal::NotABinlog),
        (b"./binlog.000001\n".to_vec(), Refusal::NotABinlog),
        (vec![0; 100], Refusal::NotABinlog),
        (b"\xfdbin\x01\x00".to_vec(), Refusal::Encrypted),
        (b"\xfe\xfe\x0d\x01\0\0\0\0".to_vec(), Refusal::MariaDbIbb),
        (encrypted.finish(), Refusal::StartEncryption),
        (v3, Refusal::OldVersion(3)),
        (flagged, Refusal::RelayLog),
        (relay.finish(), Refusal::RelayLog),
    ] {
        assert_eq!(try_scan(&bytes), Err(refusal.clone()));
        let mut scanner = Scanner::new(());
        let results: Vec<_> = bytes.iter().map(|byte| scanner.push(&[*byte])).collect();
        assert!(
            results.contains(&Err(refusal.clone())),
            "{refusal:?} surfaces in push"
        );
        assert_eq!(scanner.finish().0, Err(refusal.clone()));
        assert_eq!(probe_head(&bytes, true), Err(refusal));
    }
}

#[test]
fn an_empty_file_is_a_link_of_a_chain() {
    for bytes in [&b""[..], b"\xfe", b"\xfebi", b"\xfebin"] {
        let summary = scan(bytes);
        assert_eq!(
            (summary.flavour, summary.damage, summary.ending),
            (None, None, Ending::Open)
        );
        assert_eq!(summary.head, Sha256::of(b""));
        assert_eq!(
            summary.last_transaction_end,
            if bytes.len() < 4 { 0 } else { 4 }
        );
    }
}

#[test]
fn the_head_is_the_format_description_without_in_use_and_the_first_event() {
    let bytes = sample();
    let (summary, recorder) = record(&bytes);
    let first_two = recorder.events[2].position as usize;
    assert_eq!(summary.head, Sha256::of(&bytes[4..first_two]));
    let mut in_use = BinlogBuilder::mysql();
    write_sample(&mut in_use);
    in_use.in_use();
    assert_eq!(scan(in_use.bytes()).head, summary.head);
    assert!(scan(in_use.bytes()).in_use);
    assert_eq!(scan(in_use.bytes()).damage, None);
    // Probing needs exactly what it asks for, and never asks twice for the same.
    let mut have = 0;
    let head = loop {
        match probe_head(&bytes[..have], false).expect("not refused") {
            HeadProbe::NeedMore(bytes_needed) => {
                assert!(bytes_needed > have as u64 && bytes_needed <= first_two as u64);
                have = bytes_needed as usize;
            }
            HeadProbe::Head(head) => break head,
        }
    };
    assert_eq!(have, first_two);
    assert_eq!(head.head, summary.head);
    assert_eq!(head.first_event_type, Some(kind::PREVIOUS_GTIDS));
    assert_eq!(head.previous_gtids, Some(previous()));
    let HeadProbe::Head(cut) = probe_head(&bytes[..first_two - 1], true).expect("not refused")
    else {
        panic!("the end of the file ends the probe");
    };
    assert_eq!(cut.first_event_type, None);
    assert_eq!(cut.head, scan(&bytes[..first_two - 1]).head);
}
