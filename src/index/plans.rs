//! No question reads a table from end to end: every statement of this module is held against SQLite's own plan for it.

use super::rows::COLUMNS;
use super::schema;
use std::fs;
use std::path::Path;

/// Statements that read all of something that is small by itself.
const SMALL: [&str; 6] = [
    // As many as fit in what is kept, and out of an index.
    "coalesce(sum(bytes), 0) FROM opens",
    // Ends at the first.
    "FROM opens ORDER BY id LIMIT 1",
    "FROM lost ORDER BY seq LIMIT",
    // As many as are asked for, and there are few at all.
    "FROM long_sets ORDER BY entry DESC LIMIT",
    // As many as there are breaks in the continuity of GTIDs, and each is an alarm.
    "FROM breaks b CROSS JOIN entries e",
    // A row for each table.
    "FROM sqlite_schema",
];
/// Scans that are no longer than what is asked for: what is not plainly archived, and what a subquery found.
const SCANS: [&str; 2] = ["SCAN entries USING INDEX entries_bad", "SCAN (subquery"];

/// The string literals of a source file.
fn literals(source: &str) -> Vec<String> {
    let code: Vec<&str> = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let (mut found, mut literal) = (Vec::new(), None::<String>);
    let code = code.join("\n");
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        match (c, &mut literal) {
            ('\\', Some(text)) => text.extend(chars.next().filter(|c| *c != '\n')),
            ('"', Some(_)) => found.extend(literal.take()),
            ('"', None) => literal = Some(String::new()),
            (c, Some(text)) => text.push(c),
            (_, None) => {}
        }
    }
    found
}

/// The statements in the sources of this module.
fn statements() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/index");
    let mut found = Vec::new();
    for file in fs::read_dir(dir).expect("a directory") {
        let path = file.expect("readable").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if ["tests", "plans.rs"].contains(&name.as_str()) {
            continue;
        }
        for text in literals(&fs::read_to_string(&path).expect("readable")) {
            let text = text.replace("{COLUMNS}", COLUMNS);
            let whole = match text.split_whitespace().next() {
                Some("WHERE" | "INDEXED") => format!("SELECT {COLUMNS} FROM entries {text}"),
                Some("SELECT" | "UPDATE" | "DELETE" | "INSERT") => text,
                _ => continue,
            };
            // Of tables whose names are filled in, and where nothing can be seen.
            if !whole.contains('{') {
                found.push(whole);
            }
        }
    }
    found
}

#[test]
fn every_statement_goes_down_an_index() {
    let conn = schema::open_in_memory().expect("opens");
    let statements = statements();
    assert!(statements.len() > 40, "found: {}", statements.len());
    let mut scans = Vec::new();
    for statement in statements {
        let mut plan = conn
            .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
        let mut rows = plan.raw_query();
        while let Some(row) = rows.next().expect("a plan") {
            let step: String = row.get(3).expect("text");
            let small = SMALL.iter().any(|small| statement.contains(small));
            let short = SCANS.iter().any(|scan| step.starts_with(scan));
            if step.starts_with("SCAN ") && !step.contains("CONSTANT") && !small && !short {
                scans.push(format!("{step}: {statement}"));
            }
        }
    }
    assert!(scans.is_empty(), "{scans:#?}");
}
