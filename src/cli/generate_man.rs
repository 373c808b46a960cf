//! `binlogfs generate-man`: the man pages, made of what the program knows, so that they cannot say something else.

mod commands;
mod configuration;
mod helper;
mod page;

use super::exit::Exit;
use super::{output, version};
use anyhow::{Context as _, Result};
use page::Page;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub struct GenerateManArgs {
    /// An existing directory.
    dir: PathBuf,
    /// The date of the pages, in seconds since 1970, if the build knows none.
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS")]
    date: Option<i64>,
}

/// Writes every page, and prints the name of each.
pub fn run(args: &GenerateManArgs) -> Result<Exit> {
    for page in pages(&date(args.date)) {
        let path = args.dir.join(page.file_name());
        std::fs::write(&path, page.text())
            .with_context(|| format!("cannot write {}", path.display()))?;
        output::print(&format!("{}\n", path.display()))?;
    }
    Ok(Exit::Done)
}

/// Never today's: the same source gives the same pages.
fn date(seconds: Option<i64>) -> String {
    let told = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    match told {
        Some(time) if version::DATE.is_empty() => time.strftime("%Y-%m-%d").to_string(),
        _ => version::DATE.to_owned(),
    }
}

fn pages(date: &str) -> Vec<Page> {
    let mut pages = commands::pages(date);
    pages.push(helper::page(date));
    pages.push(configuration::page(date));
    pages
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The pages of a command and of those below it, by their names.
    fn expected(command: &clap::Command, name: &str, names: &mut BTreeSet<String>) {
        names.insert(format!("{name}.1"));
        for below in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            expected(below, &format!("{name}-{}", below.get_name()), names);
        }
    }

    #[test]
    fn every_command_has_a_page_and_nothing_else_has() {
        let mut names = BTreeSet::from(["mount.binlogfs.8", "binlogfs.toml.5"].map(str::to_owned));
        expected(&crate::cli::offered(), "binlogfs", &mut names);
        let made: BTreeSet<_> = pages("").iter().map(Page::file_name).collect();
        assert_eq!(made, names);
        assert!(made.contains("binlogfs-backup-add.1"));
        assert!(!made.contains("binlogfs-generate-man.1"));
    }

    #[test]
    fn every_page_says_what_it_is_of_in_the_way_that_whatis_reads() {
        for page in pages("2026-11-26") {
            let text = page.text();
            let lines: Vec<_> = text.lines().collect();
            let name = lines.iter().position(|l| *l == ".SH NAME").expect("a name");
            assert!(lines[name + 1].contains(" \\- "), "{}", lines[name + 1]);
            assert!(text.contains("\"2026-11-26\""), "{}", page.file_name());
            assert!(text.contains("SEE ALSO"), "{}", page.file_name());
            let odd = lines.iter().find(|line| line.ends_with(' '));
            assert_eq!(odd, None, "{}", page.file_name());
        }
    }

    #[test]
    fn a_date_is_that_of_the_source() {
        if version::DATE.is_empty() {
            assert_eq!(date(Some(1_764_158_731)), "2025-11-26");
        }
        assert_eq!(date(None), version::DATE);
    }
}
