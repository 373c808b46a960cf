//! How results look: JSON documents, tables, sizes, times, progress bars, errors.

use crate::model::Micros;
pub use crate::model::counted::{count, of_number};
use crate::sync::archive::Progress;
use crate::telemetry;
use anyhow::Context as _;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer as _};
use serde_json::Value;
use std::io::Write as _;

/// Prints `value` as one indented JSON document. The text of it is never in memory as a whole: some documents have a million entries.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    write_json(std::io::stdout().lock(), value).context("cannot write to standard output")
}

fn write_json(out: impl std::io::Write, value: &impl Serialize) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(out);
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Prints what `fill` adds, one by one, as one indented JSON list: no more than one of them need be in memory.
///
/// # Errors
/// When stdout cannot be written; those of `fill`, and then the list has no end.
pub fn print_json_list(
    fill: impl FnOnce(&mut dyn FnMut(&Value) -> anyhow::Result<()>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    write_json_list(std::io::stdout().lock(), fill)
}

fn write_json_list(
    out: impl std::io::Write,
    fill: impl FnOnce(&mut dyn FnMut(&Value) -> anyhow::Result<()>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    const FAILED: &str = "cannot write to standard output";
    let mut out = std::io::BufWriter::new(out);
    let mut serializer = serde_json::Serializer::pretty(&mut out);
    let begun = serializer.serialize_seq(None);
    // As an error of the system, so that a reader that went away is known for one.
    let mut list = begun.map_err(std::io::Error::from).context(FAILED)?;
    fill(&mut |value| {
        let added = list.serialize_element(value);
        added.map_err(std::io::Error::from).context(FAILED)
    })?;
    list.end().map_err(std::io::Error::from).context(FAILED)?;
    let ended = out.write_all(b"\n").and_then(|()| out.flush());
    ended.context(FAILED)
}

/// `value` as one indented JSON document.
///
/// # Errors
/// When it cannot be JSON.
pub fn json_text(value: &impl Serialize) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}

/// Prints `text` as it is.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(text.as_bytes())
}

/// Writes `bytes` to stdout, now.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// A bar that counts to `total`, for work over a second.
pub fn count_bar(total: u64) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(total);
    let template = "{bar:30} {pos}/{len} {eta}";
    bar.set_style(
        indicatif::ProgressStyle::with_template(template).expect("the template is valid"),
    );
    // Nothing shows for work under a second.
    bar.enable_steady_tick(std::time::Duration::from_secs(1));
    bar
}

/// A plain table: a header, aligned columns, no lines, so that `awk` and `column` can take it.
pub fn table(
    header: &[&str],
    right: &[usize],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if right.contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text: String = table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

/// A size for people: `1.2 MiB`.
pub fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A time in UTC to the second, as `ls --time-style=full-iso` sorts it.
pub fn time(time: Option<Micros>) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| {
            // A hostile record may have the smallest time there is.
            Micros(time.0.saturating_sub(time.0.rem_euclid(1_000_000))).to_string()
        },
    )
}

/// A set cut to what a table can hold.
pub fn short(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    text.chars()
        .take(max_chars.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// An error with its causes as one line, in the form the caller asked for.
pub fn error_line(error: &anyhow::Error, json: bool) -> String {
    match json {
        // Results are on stdout and this is none: it goes where errors go, in the same form.
        true => format!(
            "{}\n",
            serde_json::json!({ "error": telemetry::message(error) })
        ),
        false => format!("binlogfs: {}\n", telemetry::message(error)),
    }
}

/// Prints an error with its causes, in the form the caller asked for.
pub fn print_error(error: &anyhow::Error, json: bool) {
    eprint!("{}", error_line(error, json));
}

/// Whether the reader of our output went away, as `head` does: no failure of ours.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// A progress bar that counts things whose number is not known beforehand, on terminals only.
pub fn tally_bar(what: &'static str) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new_spinner();
    let template = format!("{{spinner}} {{pos}} {what} {{per_sec}}");
    bar.set_style(
        indicatif::ProgressStyle::with_template(&template).expect("the template is valid"),
    );
    bar.enable_steady_tick(std::time::Duration::from_secs(1));
    bar
}

/// A progress bar over bytes, on terminals only.
pub fn byte_bar(total_bytes: u64) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(total_bytes);
    let template =
        "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} {msg}";
    bar.set_style(
        indicatif::ProgressStyle::with_template(template).expect("the template is valid"),
    );
    // Nothing shows for work under a second.
    bar.enable_steady_tick(std::time::Duration::from_secs(1));
    bar
}

/// A bar over the bytes that an archiver reads, with the name of what it archived last.
pub struct ArchivedBar(pub indicatif::ProgressBar);

impl Progress for ArchivedBar {
    fn planned(&self, _files: usize, bytes: u64) {
        self.0.inc_length(bytes);
    }
    fn read(&self, bytes: u64) {
        self.0.inc(bytes);
    }
    fn archived(&self, name: &str) {
        self.0.set_message(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_printed_one_by_one_is_the_document_that_it_was() {
        for count in 0..3 {
            let all: Vec<Value> = (0..count)
                .map(|n| serde_json::json!({ "name": n, "gtids": ["a", "b"] }))
                .collect();
            let (mut whole, mut list) = (Vec::new(), Vec::new());
            write_json(&mut whole, &all).expect("writes");
            write_json_list(&mut list, |add| all.iter().try_for_each(add)).expect("writes");
            assert_eq!(String::from_utf8(list), String::from_utf8(whole));
        }
    }

    #[test]
    fn what_ends_a_list_is_told_and_a_reader_that_leaves_is_known() {
        let failed = write_json_list(Vec::new(), |_| anyhow::bail!("the index is gone"));
        assert!(failed.expect_err("fails").to_string().contains("index"));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let much = Value::from("x".repeat(1 << 20));
        let left = write_json_list(writer, |add| add(&much));
        assert!(is_broken_pipe(&left.expect_err("nobody reads")));
    }
}
