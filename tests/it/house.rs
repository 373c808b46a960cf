//! The house keeps its order: uses go downward only, pure modules do no I/O, files stay short.

use crate::tools;
use std::path::{Path, PathBuf};

/// The layers from the top; a module may use those of lower layers, and of its own where [`BESIDE`] says so.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["config"],
    &["agent", "doctor"],
    &["replay", "verify"],
    &["sync", "fs", "recover", "prune"],
    &["backup"],
    &["locate"],
    &["cache"],
    &["source", "stream"],
    &["index"],
    &["ledger", "segment", "retention"],
    &["binlog", "store", "telemetry"],
    &["model"],
    &["blocks", "mount_id"],
];

/// Modules that take values and return values.
const PURE: &[&str] = &["model", "binlog", "segment", "ledger", "retention"];

/// What a pure module never names outside its tests.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "tokio::",
    "std::process",
    "rusqlite",
    "std::thread",
    "std::env",
];

/// Lines of a file before its tests.
const LINES_MAX: usize = 400;

fn sources() -> Vec<(PathBuf, String)> {
    let paths = tools::files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "rs");
    assert!(paths.len() > 50, "the sources were found");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("text");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// The module a file belongs to: `store` for `src/store/file.rs`.
fn module_of(path: &Path) -> String {
    let below = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .expect("in src");
    let first = below
        .components()
        .next()
        .expect("a component")
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// A file without its unit tests and comments.
fn code(path: &Path, text: &str) -> String {
    if path.components().any(|c| c.as_os_str() == "tests") || path.ends_with("tests.rs") {
        return String::new();
    }
    let before_tests = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    before_tests
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn uses_go_downward_only() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        let Some(own) = layer(&module) else { continue };
        for (n, used) in code(&path, &text).split("crate::").skip(1).enumerate() {
            let used: String = used
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let Some(other) = layer(&used) else { continue };
            if used != module && other <= own {
                broken.push(format!(
                    "{} (use {n}): {module} uses {used}",
                    path.display()
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn store_and_index_know_nothing_of_what_they_hold() {
    for (path, text) in sources() {
        let (module, code) = (module_of(&path), code(&path, &text));
        let forbidden: &[&str] = match module.as_str() {
            "store" => &["crate::segment", "crate::ledger", "crate::index"],
            "index" => &["crate::store", "crate::segment"],
            "ledger" => &["crate::segment"],
            "segment" => &["crate::ledger"],
            _ => &[],
        };
        for name in forbidden {
            assert!(!code.contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn pure_modules_do_no_io() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        if !PURE.contains(&module_of(&path).as_str()) {
            continue;
        }
        let code = code(&path, &text);
        broken.extend(
            IMPURE
                .iter()
                .filter(|name| code.contains(**name))
                .map(|name| format!("{}: {name}", path.display())),
        );
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn only_the_fuse_file_and_what_is_below_it_know_fuser() {
    let knows: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| code(path, text).contains("fuser::"))
        .map(|(path, _)| path)
        .collect();
    assert!(
        knows.iter().all(|path| path
            .with_extension("")
            .to_string_lossy()
            .contains("/fs/fuse")),
        "{knows:?}"
    );
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let lines = text
            .split("#[cfg(test)]")
            .next()
            .unwrap_or(&text)
            .lines()
            .count();
        let is_test =
            path.components().any(|c| c.as_os_str() == "tests") || path.ends_with("tests.rs");
        if lines > LINES_MAX && !is_test {
            broken.push(format!("{}: {lines} lines", path.display()));
        }
        if !text.starts_with("//!") && !text.starts_with("#![doc") {
            broken.push(format!("{}: does not say what it is", path.display()));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
