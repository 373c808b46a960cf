//! Times the binlog scanner alone: one thread, the file in memory, nothing hashed or compressed.
//!
//! `scan FILE RUNS` prints the file's bytes, and the seconds of the best and of the median run.

use anyhow::{Context as _, Result, bail};
use binlogfs::binlog::scan_reader;
use std::hint::black_box;
use std::time::Instant;

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
        let summary = scan_reader(black_box(file.as_slice()))?.context("the file is refused")?;
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
