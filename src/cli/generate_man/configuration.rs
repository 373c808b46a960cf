//! `binlogfs.toml(5)`: what the example says of each option, as a page.

use super::page::Page;
use crate::cli::config_check::{CONFIG_PATH, EXAMPLE};
use std::collections::BTreeSet;

/// Options that are described together, or the head of a table.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// A table, and what is said of it.
    Table(String, String),
    /// Options as the example writes them, and what is said of them.
    Options(Vec<String>, String),
}

/// The page.
pub fn page(date: &str) -> Page {
    let mut page = Page::new(
        "binlogfs.toml",
        5,
        date,
        "Configuration of the archiver of MySQL binary logs",
    );
    let (intro, parts) = read(EXAMPLE);
    page.section("DESCRIPTION");
    page.paragraph(
        "`binlogfs archive --config FILE` archives the streams that FILE names; the units of systemd take `/etc/binlogfs.toml`. It is TOML. \
         `binlogfs config example` prints one to begin with, and `binlogfs config check` finds every mistake of one at once.",
    );
    page.paragraph(&intro);
    for part in &parts {
        match part {
            Part::Table(name, said) => {
                page.section(&format!("Table {name}"));
                if !said.is_empty() {
                    page.paragraph(said);
                }
            }
            Part::Options(options, said) => {
                let names: Vec<_> = options.iter().map(String::as_str).collect();
                page.item(&names, said);
            }
        }
    }
    page.section("EXAMPLE");
    page.literal(&active(EXAMPLE));
    page.section("FILES");
    page.item(&[CONFIG_PATH], "The configuration of the host's archiver.");
    page.item(
        &["/etc/binlogfs.env"],
        "Secrets for the units, one NAME=value a line: `AWS_ACCESS_KEY_ID`, `BINLOGFS_MYSQL_PASSWORD` and the like. Mode 0600.",
    );
    page.item(
        &["/usr/share/doc/binlogfs/examples/binlogfs.toml"],
        "The example, with every option described.",
    );
    page.see_also(&[
        ("binlogfs", 1),
        ("binlogfs-archive", 1),
        ("binlogfs-config-check", 1),
    ]);
    page
}

/// What the example says in the end before its first table, and what follows. An option that was in a table of that name before is
/// left out, and of a second table of a name, which is another example, what it says nothing of.
fn read(example: &str) -> (String, Vec<Part>) {
    let mut known = BTreeSet::new();
    let (mut intro, mut table, mut is_second) = (None, "", false);
    let (mut said, mut parts) = (Vec::new(), Vec::<Part>::new());
    for line in example.lines() {
        if line.is_empty() {
            let text = sentences(&mut said);
            intro.get_or_insert(text);
        } else if line == "#" {
            said.clear();
        } else if let Some(comment) = line.strip_prefix("# ") {
            said.push(comment);
        } else if line.starts_with('[') {
            let text = sentences(&mut said);
            table = line;
            is_second = !known.insert((table, ""));
            if !is_second {
                parts.push(Part::Table(line.to_owned(), text));
            }
        } else if let Some(option) = option(line) {
            let text = sentences(&mut said);
            match parts.last_mut() {
                _ if is_second && text.is_empty() => {}
                _ if !known.insert((table, name(option))) => {}
                Some(Part::Options(options, _)) if text.is_empty() => {
                    options.push(option.to_owned());
                }
                _ => parts.push(Part::Options(vec![option.to_owned()], text)),
            }
        }
    }
    (intro.unwrap_or_default(), parts)
}

/// An option, whether or not it is switched on.
fn option(line: &str) -> Option<&str> {
    let option = line.strip_prefix('#').unwrap_or(line);
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let (name, _) = option.split_once(" = ")?;
    is_name(name).then_some(option)
}

fn name(option: &str) -> &str {
    option.split_once(" = ").map_or(option, |(name, _)| name)
}

fn sentences(said: &mut Vec<&str>) -> String {
    std::mem::take(said).join(" ")
}

/// The lines that are switched on.
fn active(example: &str) -> String {
    let lines: Vec<_> = example
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_gathered_below_what_is_said_of_them() {
        let text = "# A file.\n#\n# Of the file.\n# All of it.\n\n[a]\n# One.\n#one = 1\n# Two\n# and three.\ntwo = 2\n#three = 3\n\n# Of b.\n[[b]]\nfour = 4\n[[b]]\nfive = 5\n";
        let (intro, parts) = read(text);
        assert_eq!(intro, "Of the file. All of it.");
        let table = |name: &str, said: &str| Part::Table(name.to_owned(), said.to_owned());
        let options = |options: &[&str], said: &str| {
            let options = options.iter().map(|o| (*o).to_owned()).collect();
            Part::Options(options, said.to_owned())
        };
        assert_eq!(
            parts,
            [
                table("[a]", ""),
                options(&["one = 1"], "One."),
                options(&["two = 2", "three = 3"], "Two and three."),
                table("[[b]]", "Of b."),
                options(&["four = 4"], ""),
            ]
        );
    }

    #[test]
    fn every_option_of_the_example_is_described() {
        let (intro, parts) = read(EXAMPLE);
        assert!(intro.contains("Durations"), "{intro}");
        for part in &parts {
            if let Part::Options(options, said) = part {
                assert!(!said.is_empty(), "{options:?}");
            }
        }
        let text = page("").text().to_owned();
        for line in EXAMPLE.lines().filter_map(option) {
            let name = name(line);
            assert!(text.contains(name), "{name}");
        }
    }
}
