//! `binlogfs doctor`: what reading and mounting need here, and what to change.

use super::exit::Exit;
use super::{Global, cache, forest, mount, output, reading};
use crate::doctor::{self, Check, Level};
use crate::index::Index;
use crate::model::{Micros, ObjectKey, Seq, StoreUrl};
use crate::store::{self, SharedStore};
use crate::telemetry;
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The newest of so many segments that is large enough is read to measure the speed.
const SEGMENTS_LOOKED_AT: usize = 50;

#[derive(clap::Args, Debug)]
pub struct DoctorArgs {
    /// A stream, such as s3://bucket/prod/orders, or a directory where one is mounted. Without it, only this host is looked at.
    #[arg(value_name = "URL|DIR")]
    subject: Option<String>,
}

/// Checks that belong together.
#[derive(Serialize)]
struct Section {
    title: String,
    checks: Vec<Check>,
}

pub async fn run(global: &Global, args: &DoctorArgs) -> Result<Exit> {
    let mut sections = vec![Section {
        title: "this host".to_owned(),
        checks: doctor::host(),
    }];
    if let Some(subject) = &args.subject {
        let is_mount = !subject.contains("://");
        let url = match is_mount {
            true => mounted(Path::new(subject), &mut sections)?,
            false => subject.parse()?,
        };
        stream(global, &url, is_mount, &mut sections).await;
    }
    let worst = sections
        .iter()
        .map(|section| doctor::worst(&section.checks));
    let worst = worst.max().unwrap_or(Level::Ok);
    if global.json {
        output::print_json(&serde_json::json!({ "worst": worst, "sections": sections }))?;
    } else {
        output::print(&text(&sections))?;
    }
    Ok(match worst {
        Level::Ok | Level::Note => Exit::Done,
        Level::Warning | Level::Failure => Exit::Findings,
    })
}

/// Looks at the mount at `dir`; the URL that is mounted there.
fn mounted(dir: &Path, sections: &mut Vec<Section>) -> Result<StoreUrl> {
    let found = doctor::find(dir).context("cannot read the table of mounts")?;
    let Some(found) = found else {
        bail!(
            "nothing of binlogfs is mounted on {}; name a stream by its URL, or the mount point itself",
            dir.display()
        );
    };
    sections.push(Section {
        title: format!("the mount on {}", found.dir.display()),
        checks: doctor::mounted(&found),
    });
    mount::url_of(&found.source).with_context(|| {
        format!(
            "it cannot be told which stream is mounted on {}",
            dir.display()
        )
    })
}

/// Looks at the stream at `url`; at the place of a mount (`is_mount`) there may be several below it instead.
async fn stream(global: &Global, url: &StoreUrl, is_mount: bool, sections: &mut Vec<Section>) {
    let index: PathBuf = reading::cache_dir(global, url);
    let frames = cache::frames_dir(global.cache_dir.as_deref());
    let mut section = Section {
        title: url.to_string(),
        checks: vec![doctor::place("index", &index), doctor::cache(&frames)],
    };
    if let Some(theirs) = store::server_time(url).await {
        section.checks.push(doctor::clock(Micros::now(), theirs));
    }
    match open(global, url, &mut section.checks).await {
        Ok(()) => {}
        Err(error) if is_mount && forest::is_above_streams(&error) => section.checks.push(Check {
            name: "open",
            level: Level::Note,
            found: "several streams are mounted, each in its directory".to_owned(),
            advice: "name one of them by its URL, and it is looked at".to_owned(),
        }),
        Err(error) => section.checks.push(Check {
            name: "open",
            level: Level::Failure,
            found: telemetry::message(&error),
            advice: String::new(),
        }),
    }
    sections.push(section);
}

async fn open(global: &Global, url: &StoreUrl, checks: &mut Vec<Check>) -> Result<()> {
    let begun = Instant::now();
    let opened = reading::open(global, url).await?;
    let followed_in = begun.elapsed();
    let newest = opened.newest_segment()?;
    let object = large_object(&opened.index, opened.state().last_seq)?;
    let (links, _) = doctor::link(&(Arc::clone(&opened.store) as SharedStore), object).await;
    checks.extend(links);
    // A key file that cannot be read is a finding, and no reason to say nothing of the rest.
    let reader = match opened.reader(global) {
        Ok(reader) => reader,
        Err(error) => {
            checks.push(Check {
                name: "key",
                level: Level::Failure,
                found: telemetry::message(&error),
                advice: "give the private key that 'binlogfs keygen' made".to_owned(),
            });
            return Ok(());
        }
    };
    let looked_at = doctor::Opened {
        index: &opened.index,
        followed_in,
        alarm: opened.alarm.as_deref(),
        newest: newest.as_ref(),
        identities: global.identity.len(),
    };
    checks.extend(doctor::archive(&looked_at, &reader, Micros::now()).await);
    Ok(())
}

/// The largest object among the newest segments, the last record being `newest`. What was pruned may have none any more.
fn large_object(index: &Index, newest: Seq) -> Result<Option<(ObjectKey, u64)>> {
    let mut best: Option<(ObjectKey, u64)> = None;
    let from = newest.0.saturating_sub(SEGMENTS_LOOKED_AT as u64) + 1;
    for seq in (from..=newest.0).rev() {
        let Some(entry) = index.entry_by_seq(Seq(seq))? else {
            continue;
        };
        let Some(segment) = &entry.segment else {
            continue;
        };
        let size = segment.object.size;
        if best.as_ref().is_none_or(|(_, largest)| *largest < size)
            && !index.is_pruned(entry.timeline, &entry.mount_name)?
        {
            best = Some((segment.object.key.clone(), size));
        }
    }
    Ok(best)
}

fn text(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        text += &format!("{}\n", section.title);
        for check in &section.checks {
            text += &format!(
                "  {:<8} {:<13} {}\n",
                check.level.name(),
                check.name,
                check.found
            );
            if !check.advice.is_empty() {
                text += &format!("           {:<13} -> {}\n", "", check.advice);
            }
        }
    }
    let worse = sections.iter().flat_map(|section| &section.checks);
    let worse = worse.filter(|check| check.level > Level::Note).count() as u64;
    text += &match worse {
        0 => "nothing has to be changed\n".to_owned(),
        n => format!("{}\n", output::count(n, "finding")),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Step;
    use crate::ledger::{Body, testing};

    #[test]
    fn no_object_is_read_whose_segment_was_pruned() {
        let index = Index::in_memory().expect("opens");
        let file = testing::stream_file();
        index.begin(&file, &file.write()).expect("begins");
        let mut writer = testing::Writer::default();
        let mut append = |body: Body| {
            let step = Step::Line(writer.write(body));
            index.apply(&[step]).expect("applies");
        };
        let sizes = [3 << 20, 1 << 20, 2 << 20, 1000];
        for (number, size) in (1..).zip(sizes) {
            let mut segment = testing::segment(number);
            segment.object.size = size;
            append(Body::Segment(Box::new(segment)));
        }
        let largest = |newest: u64| {
            let object = large_object(&index, Seq(newest)).expect("reads");
            object.map(|(_, size)| size)
        };
        assert_eq!(largest(4), Some(3 << 20));
        append(Body::Prune(testing::prune(1)));
        assert_eq!(largest(5), Some(2 << 20));
        append(Body::Prune(testing::prune(3)));
        assert_eq!(largest(6), Some(1000));
        assert_eq!(largest(0), None);
    }
}
