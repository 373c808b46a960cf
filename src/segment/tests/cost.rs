//! What reading costs: no public-key operation per frame, and the speed that the mount counts on.

use super::*;
use std::time::{Duration, Instant};

/// The shortest of some runs: what the machine can do when nothing else disturbs it.
fn best_of(runs: usize, mut f: impl FnMut()) -> Duration {
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed()
        })
        .min()
        .expect("some runs")
}

#[test]
fn decoding_a_frame_does_not_open_the_stanzas_again() {
    let keys = Keys::new();
    let object = write(&content(4096, 1), &keys.recipients, 4096);
    let layout = object.facts.layout().check().expect("fits");
    let header = object.get(layout.header_range()).expect("inside");
    let unwrap = best_of(50, || drop(ContentKey::unwrap(header, &keys.identities)));
    let segment = object.open(Some(&keys.identities)).expect("opens");
    let decode = best_of(50, || drop(object.decode(&segment, 0).expect("decodes")));
    println!("unwrap {unwrap:?}, decode of a 4 KiB frame {decode:?}");
    // Built without optimisation both are slow, but the key exchange is far slower still.
    assert!(decode < unwrap, "decode {decode:?}, unwrap {unwrap:?}");
}

#[test]
#[ignore = "a measurement; run it alone and look at the output"]
fn speeds_in_and_out() {
    let keys = Keys::new();
    let plain = content(64 << 20, 2);
    let mib = |duration: Duration| plain.len() as f64 / (1 << 20) as f64 / duration.as_secs_f64();
    for (name, recipients) in [
        ("plain", Recipients::none()),
        ("age", keys.recipients.clone()),
    ] {
        let mut object = None;
        let write_time = best_of(2, || object = Some(write(&plain, &recipients, 1 << 20)));
        let object = object.expect("written");
        let segment = object.open(Some(&keys.identities)).expect("opens");
        let read_time = best_of(4, || {
            for frame in 0..segment.frames() {
                object.decode(&segment, frame).expect("decodes");
            }
        });
        println!(
            "{name}: ratio {:.2}, in {:.0} MiB/s, out {:.0} MiB/s",
            object.bytes.len() as f64 / plain.len() as f64,
            mib(write_time),
            mib(read_time)
        );
    }
    let many: Vec<String> = (0..RECIPIENTS_MAX).map(|_| keygen().public).collect();
    let mut many = many;
    many[RECIPIENTS_MAX - 1] = keys.recipients.to_string();
    let object = write(
        &content(4096, 1),
        &Recipients::parse(many).expect("keys"),
        4096,
    );
    let segment = object.open(Some(&keys.identities)).expect("opens");
    let decode = best_of(50, || drop(object.decode(&segment, 0).expect("decodes")));
    println!(
        "32 recipients: header {} bytes, decode of a 4 KiB frame {decode:?}",
        object.facts.header_size
    );
}
