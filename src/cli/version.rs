//! `binlogfs --version`: one line, or all that is known of the build.

use super::output;
use crate::{backup, index, ledger, segment, sync};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

/// Of the manifest.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit, with a `+` if the sources differ from it; empty if it is not known, as in debug builds.
const COMMIT: &str = env!("BINLOGFS_BUILD_COMMIT");
/// The day of the commit, or of SOURCE_DATE_EPOCH; empty if it is not known.
pub const DATE: &str = env!("BINLOGFS_BUILD_DATE");
const RUSTC: &str = env!("BINLOGFS_BUILD_RUSTC");
const TARGET: &str = env!("BINLOGFS_BUILD_TARGET");
const PROFILE: &str = env!("BINLOGFS_BUILD_PROFILE");

/// Digits of a commit that people are shown.
const COMMIT_SHOWN: usize = 9;

/// The formats that this build writes.
fn formats() -> [(&'static str, i64); 5] {
    [
        ("ledger", ledger::FORMAT.into()),
        ("segment", segment::FORMAT.into()),
        ("backup", backup::FORMAT.into()),
        ("index", index::SCHEMA_VERSION.into()),
        ("journal", sync::journal::SCHEMA_VERSION),
    ]
}

/// What `--version` prints, told with these `arguments`: with `--json` a document, with `--verbose` everything, as `rustc -vV`
/// does. clap ends at the flag, so that nobody has read what else was told.
pub fn text(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<String> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    if arguments.iter().any(|argument| argument == "--json") {
        return output::json_text(&document());
    }
    if arguments.iter().any(|argument| asks_for_more(argument)) {
        return Ok(everything());
    }
    Ok(line("binlogfs"))
}

fn asks_for_more(argument: &OsStr) -> bool {
    let argument = argument.to_string_lossy();
    argument == "--verbose"
        || (argument.starts_with('-') && !argument.starts_with("--") && argument.contains('v'))
}

/// One line, of the program under this name.
pub fn line(name: &str) -> String {
    let known: Vec<_> = [short(COMMIT), DATE.to_owned()]
        .into_iter()
        .filter(|fact| !fact.is_empty())
        .collect();
    match known.is_empty() {
        true => format!("{name} {VERSION}\n"),
        false => format!("{name} {VERSION} ({})\n", known.join(" ")),
    }
}

fn short(commit: &str) -> String {
    let modified = if commit.ends_with('+') { "+" } else { "" };
    let digits = commit.trim_end_matches('+');
    format!("{digits:.COMMIT_SHOWN$}{modified}")
}

fn everything() -> String {
    let formats: Vec<_> = formats()
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let formats = formats.join(", ");
    let facts = [
        ("commit", COMMIT),
        ("date", DATE),
        ("compiler", RUSTC),
        ("target", TARGET),
        ("profile", PROFILE),
        ("formats", formats.as_str()),
    ];
    let mut text = line("binlogfs");
    for (name, fact) in facts {
        let fact = if fact.is_empty() { "unknown" } else { fact };
        let _ = writeln!(text, "{name:<9} {fact}");
    }
    text
}

fn document() -> Value {
    let known = |fact: &str| match fact {
        "" => Value::Null,
        fact => fact.into(),
    };
    let formats: serde_json::Map<_, _> = formats()
        .iter()
        .map(|(name, version)| ((*name).to_owned(), (*version).into()))
        .collect();
    json!({
        "version": VERSION,
        "commit": known(COMMIT),
        "date": known(DATE),
        "compiler": known(RUSTC),
        "target": known(TARGET),
        "profile": known(PROFILE),
        "formats": formats,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &str) -> String {
        text(arguments.split(' ').map(OsString::from)).expect("prints")
    }

    #[test]
    fn a_version_is_one_line_and_more_when_more_is_asked_for() {
        for arguments in ["--version", "-V", "--log-format json -V"] {
            let text = told(arguments);
            assert_eq!(text.lines().count(), 1, "{arguments}: {text}");
            assert!(text.starts_with(&format!("binlogfs {VERSION}")), "{text}");
        }
        for arguments in ["--version --verbose", "-vV", "-Vv", "-v -V"] {
            let text = told(arguments);
            let names: Vec<_> = text.lines().filter_map(|l| l.split(' ').next()).collect();
            assert_eq!(
                names,
                [
                    "binlogfs", "commit", "date", "compiler", "target", "profile", "formats"
                ],
                "{arguments}"
            );
            let ledger = format!("ledger {}", ledger::FORMAT);
            assert!(
                text.contains("rustc ") && text.contains(&ledger) && text.contains("-linux-"),
                "{text}"
            );
        }
        let document: Value = serde_json::from_str(&told("-V --json")).expect("JSON");
        assert_eq!(document["version"], VERSION);
        assert_eq!(document["formats"]["ledger"], ledger::FORMAT);
    }

    #[test]
    fn a_commit_is_cut_and_sources_that_differ_from_it_are_told_of() {
        let hash = "b79101e32e27997485eeecb6ab775aa763d0dc2b";
        assert_eq!(short(hash), "b79101e32");
        assert_eq!(short(&format!("{hash}+")), "b79101e32+");
        assert_eq!(short(""), "");
    }
}
