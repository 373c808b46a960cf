//! What the documents say of each other and of the program is so: no link is dead, and every command that they show is understood.

use crate::tools;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a shell does not give to a command: the end of what is looked at.
const ENDS: [&str; 4] = [" | ", " || ", " # ", " > "];

/// A document in Markdown.
struct Document {
    path: PathBuf,
    /// Its lines outside of code blocks.
    prose: Vec<String>,
    /// Its lines in code blocks.
    code: Vec<String>,
}

impl Document {
    fn read(path: PathBuf) -> Document {
        let text = fs::read_to_string(&path).expect("text");
        let (mut prose, mut code) = (Vec::new(), Vec::new());
        let mut in_code = false;
        for line in text.lines() {
            match line.trim_start().starts_with("```") {
                true => in_code = !in_code,
                false if in_code => code.push(line.to_owned()),
                false => prose.push(line.to_owned()),
            }
        }
        assert!(!in_code, "{}: a code block does not end", path.display());
        Document { path, prose, code }
    }

    fn name(&self) -> &str {
        let path = self.path.strip_prefix(root()).expect("below the root");
        path.to_str().expect("text")
    }

    /// The targets of its links.
    fn links(&self) -> Vec<&str> {
        let after = self.prose.iter().flat_map(|line| line.split("](").skip(1));
        after.filter_map(|text| text.split(')').next()).collect()
    }

    /// What its headings are as the ends of links.
    fn anchors(&self) -> Vec<String> {
        let headings = self.prose.iter().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line)).collect()
    }

    /// The command lines that it shows, without the program's name: those in code blocks, and those in the text that begin with
    /// the program's name or that of one of `commands`.
    fn command_lines(&self, commands: &[String]) -> Vec<&str> {
        let typed = self.code.iter().filter_map(|line| {
            let line = line.trim_start_matches(['$', '#', ' ']);
            let words = line.strip_prefix("binlogfs ")?;
            words.starts_with(char::is_lowercase).then_some(words)
        });
        let spans = self
            .prose
            .iter()
            .flat_map(|line| line.split('`').skip(1).step_by(2));
        let told = spans.filter_map(|span| {
            let words = span.strip_prefix("binlogfs ").unwrap_or(span);
            let first = words.split(' ').next()?;
            // mount(8) is more often meant than ours.
            let ours = span != words || first != "mount" && commands.iter().any(|c| c == first);
            (ours && words.starts_with(char::is_lowercase)).then_some(words)
        });
        typed.chain(told).collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn documents() -> Vec<Document> {
    let mut paths = vec![root().join("README.md")];
    for dir in ["docs", "src"] {
        paths.extend(tools::files_below(&root().join(dir), "md"));
    }
    assert!(paths.len() > 8, "the documents were found: {paths:?}");
    paths.into_iter().map(Document::read).collect()
}

#[test]
fn no_link_is_dead() {
    let (mut broken, mut seen) = (Vec::new(), 0);
    for document in documents() {
        for link in document.links() {
            if link.starts_with("https://") {
                continue;
            }
            seen += 1;
            let (file, end) = link.split_once('#').unwrap_or((link, ""));
            let path = match file {
                "" => document.path.clone(),
                file => document.path.parent().expect("a directory").join(file),
            };
            let there = match end {
                "" => path.exists(),
                end => path.is_file() && Document::read(path).anchors().iter().any(|a| a == end),
            };
            if !there {
                broken.push(format!("{}: {link}", document.name()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(seen > 20, "the links were found: {seen}");
}

#[test]
fn the_documents_are_in_the_package() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("text");
    for document in documents() {
        let name = document.name();
        // Its figures are of one machine.
        let packed = !name.starts_with("src/") && name != "docs/BENCH.md";
        let asset = format!("[\"{name}\", ");
        assert!(
            !packed || manifest.contains(&asset),
            "{name} is not in the package"
        );
    }
}

/// The help of each command, asked for once.
#[derive(Default)]
struct Helps(HashMap<Vec<String>, Option<String>>);

impl Helps {
    /// `None` if there is no such command.
    fn of(&mut self, command: &[&str]) -> Option<&str> {
        let key: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let ask = || {
            let output = tools::output(tools::binlogfs().args(command).arg("--help"));
            let text = String::from_utf8(output.stdout).expect("text");
            output.status.success().then_some(text)
        };
        self.0.entry(key).or_insert_with(ask).as_deref()
    }

    fn commands(&mut self) -> Vec<String> {
        let help = self.of(&[]).expect("there is help");
        let listed = help.lines().filter_map(|line| line.strip_prefix("  "));
        let names = listed.filter_map(|line| line.split(' ').next());
        let names = names.filter(|name| name.starts_with(char::is_lowercase));
        names.map(str::to_owned).collect()
    }
}

/// What is wrong with a command line, if anything is.
fn fault(helps: &mut Helps, line: &str) -> Option<String> {
    let end = ENDS.iter().filter_map(|end| line.find(end)).min();
    let words: Vec<&str> = line[..end.unwrap_or(line.len())]
        .split_whitespace()
        .collect();
    let (first, rest) = words.split_first()?;
    let Some(help) = helps.of(&[*first]) else {
        return Some(format!("there is no command {first}"));
    };
    let mut command = vec![*first];
    let is_group = |line: &str| line.starts_with("Usage:") && line.ends_with("<COMMAND>");
    if help.lines().any(is_group) {
        // The group alone is spoken of.
        command.push(rest.first()?);
    }
    let Some(help) = helps.of(&command) else {
        return Some(format!("there is no command {}", command.join(" ")));
    };
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let known: Vec<&str> = help.split(|c| !is_part(c)).collect();
    let options = rest
        .iter()
        .filter(|word| word.starts_with("--") && word.len() > 2);
    let mut options = options.filter_map(|word| word.split(|c| !is_part(c)).next());
    let unknown = options.find(|option| !known.contains(option))?;
    Some(format!("{} has no option {unknown}", command.join(" ")))
}

#[test]
fn every_command_and_option_that_the_documents_show_is_in_the_help() {
    let mut helps = Helps::default();
    let commands = helps.commands();
    assert!(commands.len() > 20, "{commands:?}");
    let (mut broken, mut seen) = (Vec::new(), 0);
    for document in documents() {
        for line in document.command_lines(&commands) {
            seen += 1;
            let fault = fault(&mut helps, line);
            broken.extend(fault.map(|fault| format!("{}: {fault}: {line}", document.name())));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(seen > 100, "the command lines were found: {seen}");
    let wrong = [
        "no-such-command",
        "ls URL --no-such-option",
        "backup no-such-command URL",
    ];
    for line in wrong {
        assert!(fault(&mut helps, line).is_some(), "{line} is understood");
    }
}
