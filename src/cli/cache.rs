//! `binlogfs cache`: what is kept on disk, and its removal; and the options of who keeps something there.

use super::exit::Exit;
use super::{Global, output, reading};
use crate::cache::disk::{self, DiskCache, DiskLimits, KeepFree, StreamUsage, Usage};
use crate::config;
use crate::model::StoreUrl;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use uuid::Uuid;

#[derive(clap::Subcommand, Debug)]
pub enum CacheCommand {
    /// Tell what is kept on disk of which stream, and how often it was of use.
    Status(CacheArgs),
    /// Remove what is kept on disk. Mounts go on, and fetch again.
    Clear(CacheArgs),
}

#[derive(clap::Args, Debug)]
pub struct CacheArgs {
    /// One stream only, by the URL with which it was mounted.
    url: Option<StoreUrl>,
}

/// Reads a size: MiB, or with a unit; 0 for none.
pub fn size(text: &str) -> Result<u64, String> {
    match text.trim().parse::<u64>() {
        Ok(mebibytes) => Ok(mebibytes.saturating_mul(1 << 20)),
        Err(_) => config::size(text),
    }
}

/// Reads a size, or a percentage of the disk.
pub fn keep_free(text: &str) -> Result<KeepFree, String> {
    if text.trim().ends_with('%') {
        return text.trim().parse();
    }
    size(text).map(KeepFree::Bytes).map_err(|_| {
        format!(
            "{text:?} is neither a size, such as 5GiB, nor a percentage of the disk, such as 10%"
        )
    })
}

/// Where frames are kept: one place for all streams of a host, so that one limit holds for them; or below the directory that was
/// asked for.
pub fn frames_dir(cache_dir: Option<&Path>) -> PathBuf {
    let base = cache_dir.map(Path::to_owned);
    base.unwrap_or_else(reading::default_cache_dir)
        .join("frames")
}

/// The cache there, unless nothing may be kept.
pub fn open(cache_dir: Option<&Path>, limits: DiskLimits) -> Option<DiskCache> {
    (limits.size_bytes > 0).then(|| DiskCache::open(&frames_dir(cache_dir), limits))
}

pub fn run(global: &Global, command: &CacheCommand) -> Result<Exit> {
    let dir = frames_dir(global.cache_dir.as_deref());
    let look = || {
        disk::usage(&dir).with_context(|| format!("cannot read the disk cache {}", dir.display()))
    };
    match command {
        CacheCommand::Status(args) => {
            let mut usage = look()?;
            if let Some(url) = &args.url {
                usage.streams.retain(|stream| is_of(stream, url));
                usage.bytes = usage.streams.iter().map(|stream| stream.bytes).sum();
            }
            if global.json {
                output::print_json(&usage)?;
            } else {
                output::print(&table(&usage))?;
            }
        }
        CacheCommand::Clear(args) => {
            let wanted: Option<Vec<Uuid>> = match &args.url {
                None => None,
                Some(url) => {
                    let streams = look()?.streams;
                    let of_url = streams.iter().filter(|stream| is_of(stream, url));
                    Some(of_url.map(|stream| stream.id).collect())
                }
            };
            let cleared = disk::clear(&dir, wanted.as_deref()).with_context(|| {
                format!(
                    "not all of the disk cache {} could be removed",
                    dir.display()
                )
            })?;
            if global.json {
                output::print_json(&cleared)?;
            } else {
                output::print(&format!(
                    "removed {} ({})\n",
                    output::count(cleared.frames, "frame"),
                    output::size(cleared.bytes)
                ))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn is_of(stream: &StreamUsage, url: &StoreUrl) -> bool {
    stream.url == url.to_string()
}

fn table(usage: &Usage) -> String {
    let frames: u64 = usage.streams.iter().map(|stream| stream.frames).sum();
    let head = format!(
        "{}: {} in {}; {} of {} are free\n",
        usage.dir.display(),
        output::size(usage.bytes),
        output::count(frames, "frame"),
        output::size(usage.free_bytes),
        output::size(usage.total_bytes),
    );
    if usage.streams.is_empty() {
        return head;
    }
    let rows = usage.streams.iter().map(|stream| {
        let name = match stream.url.as_str() {
            "" => stream.id.to_string(),
            url => url.to_owned(),
        };
        vec![
            name,
            stream.frames.to_string(),
            output::size(stream.bytes),
            output::time(stream.oldest_use),
            output::time(stream.newest_use),
            stream.counts.hits.to_string(),
            stream.counts.misses.to_string(),
            stream.counts.faults.to_string(),
            output::time(stream.since),
        ]
    });
    let header = [
        "STREAM",
        "FRAMES",
        "SIZE",
        "OLDEST USE",
        "LAST USE",
        "HITS",
        "MISSES",
        "FAULTS",
        "SINCE",
    ];
    head + "\n" + &output::table(&header, &[1, 2, 5, 6, 7], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_percentages_are_read_and_others_are_refused() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("5"), Ok(5 << 20));
        assert_eq!(size("20GiB"), Ok(20 << 30));
        assert_eq!(keep_free("5%"), Ok(KeepFree::Percent(5)));
        assert_eq!(keep_free("1GiB"), Ok(KeepFree::Bytes(1 << 30)));
        assert_eq!(keep_free("0"), Ok(KeepFree::Bytes(0)));
        for text in ["100%", "5G", "-1", ""] {
            assert!(size(text).is_err() && keep_free(text).is_err(), "{text}");
        }
    }
}
