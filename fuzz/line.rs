//! Fuzzes ledger lines: JSON that is sealed here, so that its own hash never stops it, and bytes as they are.

#![no_main]

mod allocations;
mod input;
mod seeds;

use binlogfs::ledger::record::{DamagedRecord, SupersedeReason};
use binlogfs::ledger::{Body, FORMAT, LedgerState, Line, Record, StreamFile, testing};
use binlogfs::model::Sha256;
use input::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: seeds::write_if_asked(seeds), |data: &[u8]| {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => check(input.0),
        1 => check_stream_file(input.0),
        _ => {
            if let Some(line) = seal(input.0) {
                check(&line);
            }
        }
    }
});

/// The line of a JSON object, with the hash that belongs to it.
fn seal(json: &[u8]) -> Option<Vec<u8>> {
    let body = json.strip_suffix(b"}")?;
    let own = format!(r#","self":"{}"}}"#, Sha256::of(json));
    Some([body, own.as_bytes()].concat())
}

fn check(bytes: &[u8]) {
    let Ok(line) = Line::read(bytes) else { return };
    let record = line.record();
    let written = Line::write(record.clone()).expect("what was read can be written");
    assert_eq!(written.record(), record);
    let again = Line::write(written.record().clone()).expect("it was written before");
    assert_eq!(again.text(), written.text());
    assert_eq!(again.hash(), Sha256::of(again.text().as_bytes()));
    for length in [0, 2] {
        follow(chain(length), record.body.clone());
    }
}

/// The state after `length` records that follow each other.
fn chain(length: u64) -> LedgerState {
    let file = testing::stream_file();
    let mut state = LedgerState::new(&file, &file.write());
    for line in testing::chain(length) {
        state.accept(&line).expect("a sound chain");
    }
    state
}

/// Lets `body` follow as the next record: the rules of the chain take it or refuse it.
fn follow(mut state: LedgerState, body: Body) {
    let record = Record {
        format: FORMAT,
        seq: state.next_seq(),
        prev: state.last_hash.expect("a sound chain"),
        body,
    };
    let line = Line::write(record).expect("its body was read from a line");
    let before = state.clone();
    match state.accept(&line) {
        Ok(_) => assert_eq!(
            (state.last_seq, state.last_hash),
            (line.seq(), Some(line.hash()))
        ),
        Err(_) => assert_eq!(state, before, "a refused record leaves no trace"),
    }
    // A state is kept beside the index.
    let text = serde_json::to_vec(&state).expect("a state is JSON");
    let again: LedgerState = serde_json::from_slice(&text).expect("its own JSON");
    assert_eq!(again, state);
}

fn check_stream_file(bytes: &[u8]) {
    let Ok(file) = StreamFile::read(bytes) else {
        return;
    };
    assert_eq!(StreamFile::read(&file.write()).as_ref().ok(), Some(&file));
}

fn seeds() -> Vec<Vec<u8>> {
    let mut segment = testing::segment(1);
    segment.damaged = Some(DamagedRecord {
        first_bad_position: 7,
        reason: "a torn \u{1F4A5} \"event\"\n".to_owned(),
    });
    let mut writer = testing::Writer::default();
    let mut seeds = Vec::new();
    for body in [
        Body::Segment(Box::new(testing::segment(1))),
        Body::Segment(Box::new(segment)),
        Body::Segment(Box::new(testing::moved(2, 2, 2))),
        Body::Hole(testing::hole(2)),
        Body::Gap(testing::gap(2, 2)),
        Body::Supersede(Box::new(testing::supersede(
            2,
            2,
            SupersedeReason::HoleFilled,
        ))),
        Body::Fence(testing::fence(1, u64::MAX)),
        Body::Prune(testing::prune(1)),
    ] {
        // Written where the chain begins, so that its rules are reached.
        let line = testing::Writer::default().write(body.clone());
        let next = writer.write(body);
        for line in [line, next] {
            let own = format!(r#","self":"{}"}}"#, "0".repeat(64)).len();
            let json = format!("{}}}", &line.text()[..line.text().len() - own]);
            seeds.push([&[2], json.as_bytes()].concat());
            seeds.push([&[0], line.text().as_bytes()].concat());
        }
    }
    seeds.push([&[1], &testing::stream_file().write()[..]].concat());
    seeds
}
