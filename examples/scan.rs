//! Times the binlog scanner alone: one thread, the file in memory, nothing hashed or compressed.
//!
//! `scan FILE RUNS` prints the file's bytes, and the seconds of the best and of the median run.

use anyhow::{Context as _, Result, bail};
use binlogfs::binlog::Scanner;
use std::hint::black_box;
use std::time::Instant;

/// Bytes pushed at a time: those of a frame, as the archiver does.
const PIECE_BYTES: usize = 1 << 20;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, runs] = arguments.as_slice() else {
        bail!("usage: scan FILE RUNS");
    };
    let runs: usize = runs.parse().context("RUNS is not a number")?;
    let file = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    let mut seconds = Vec::with_capacity(runs);
    for _ in 0..runs.max(1) {
        let begun = Instant::now();
        let mut scanner = Scanner::new(());
        for piece in black_box(file.as_slice()).chunks(PIECE_BYTES) {
            scanner.push(piece).context("the file is refused")?;
        }
        let summary = scanner.finish().0.context("the file is refused")?;
        seconds.push(begun.elapsed().as_secs_f64());
        if let Some(damage) = &summary.damage {
            bail!("{path} is damaged: {}", damage.reason);
        }
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "{} {:.6} {:.6}",
        file.len(),
        seconds[0],
        seconds[seconds.len() / 2]
    );
    Ok(())
}
