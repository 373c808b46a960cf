//! What `src/fs/SEMANTICS.md` promises is shown by tests: each of its paragraphs names them, in a comment that no reader of the
//! rendered page sees, and each name is a test that exists.

use crate::tools;
use std::collections::HashSet;
use std::path::Path;

const PROMISES: &str = "src/fs/SEMANTICS.md";
/// `<!-- shown by: a_test, another_test -->` at the end of a paragraph, a list item or a table.
const BEGIN: &str = "<!-- shown by: ";
const END: &str = " -->";

/// Paragraphs, list items and tables, each with its text. Headings promise nothing.
fn paragraphs(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let begins = line.starts_with("* ") || line.starts_with("| ") && !open;
        if line.trim().is_empty() || line.starts_with('#') {
            // A comment after a table is in a line of its own, and is still the table's.
            open = false;
        } else if line.starts_with(BEGIN) && !all.is_empty() {
            all.last_mut().expect("not empty").push_str(line);
        } else if open && !begins {
            let last = all.last_mut().expect("one is open");
            last.push('\n');
            last.push_str(line);
        } else {
            all.push(line.to_owned());
            open = true;
        }
    }
    all
}

/// The names of all tests of the project.
fn tests() -> HashSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = HashSet::new();
    let sources = ["src", "tests"].map(|dir| tools::files_below(&root.join(dir), "rs"));
    for path in sources.iter().flatten() {
        let text = std::fs::read_to_string(path).expect("text");
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let function = line.trim_start_matches("async ").strip_prefix("fn ");
            if let (true, Some(function)) = (is_test, function) {
                let name = function.split('(').next().expect("a first part");
                names.insert(name.to_owned());
                is_test = false;
            }
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        }
    }
    assert!(names.len() > 300, "the tests were found: {}", names.len());
    names
}

#[test]
fn every_paragraph_names_tests_that_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROMISES);
    let text = std::fs::read_to_string(path).expect("text");
    let tests = tests();
    let mut broken = Vec::new();
    for paragraph in paragraphs(&text).iter().skip(1) {
        let begin: String = paragraph.chars().take(70).collect();
        let shown = paragraph
            .split_once(BEGIN)
            .and_then(|(_, rest)| rest.split_once(END));
        let Some((names, _)) = shown else {
            broken.push(format!(
                "{begin:?}: no test is named; end it with '{BEGIN}NAME OF A TEST, ...{END}'"
            ));
            continue;
        };
        for name in names.split(',').map(str::trim) {
            if !tests.contains(name) {
                broken.push(format!("{begin:?}: no test is called {name}"));
            }
        }
    }
    assert!(broken.is_empty(), "{PROMISES}: {broken:#?}");
}

#[test]
fn paragraphs_items_and_tables_are_told_apart() {
    let text = "Title\n\n# Head\n\n* one\n  goes on\n* two <!-- shown by: x -->\n\n| a | b |\n|---|---|\n| c | d |\n\n\
                <!-- shown by: y -->\n\nA paragraph\nof two lines.\n";
    let all = paragraphs(text);
    assert_eq!(all.len(), 5, "{all:#?}");
    assert!(
        all[3].contains("| c | d |") && all[3].contains("shown by: y"),
        "{all:#?}"
    );
}
