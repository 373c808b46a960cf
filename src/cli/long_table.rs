//! A table of as many rows as an archive has segments: of a row no more is held than its text.

use anyhow::Context as _;
use std::io::{BufWriter, Write};

/// What parts the cells of a row that is held. No cell has it: they are names, numbers, times and GTID sets.
const BETWEEN: &str = "\t";

/// A table that looks like one of [`super::output::table`].
pub struct LongTable {
    /// Columns that are aligned to the right.
    right: &'static [usize],
    /// Characters of the longest cell of each column.
    widths: Vec<usize>,
    rows: Vec<Box<str>>,
}

impl LongTable {
    /// Only the header.
    pub fn new(header: &[&str], right: &'static [usize]) -> LongTable {
        let mut table = LongTable {
            right,
            widths: vec![0; header.len()],
            rows: Vec::new(),
        };
        table.add(header);
        table
    }

    /// One more row.
    pub fn add(&mut self, cells: &[impl AsRef<str>]) {
        let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.chars().count());
        }
        self.rows.push(cells.join(BETWEEN).into());
    }

    /// Prints it.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn print(&self) -> anyhow::Result<()> {
        self.write(std::io::stdout().lock())
            .context("cannot write to standard output")
    }

    fn write(&self, out: impl Write) -> std::io::Result<()> {
        let mut out = BufWriter::new(out);
        for row in &self.rows {
            writeln!(out, "{}", self.line(row))?;
        }
        out.flush()
    }

    fn line(&self, row: &str) -> String {
        let mut line = String::new();
        for (at, (cell, width)) in row.split(BETWEEN).zip(&self.widths).enumerate() {
            let width = *width;
            line += &match self.right.contains(&at) {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:<width$}  "),
            };
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output;

    #[test]
    fn it_looks_like_any_other_table() {
        let header = ["NAME", "SIZE", "GTIDS"];
        let rows = [
            ["binlog.000001", "7", "-"],
            [
                "b",
                "1234567",
                "56ded9f2-ea3b-11f1-8ac2-02fc00000001:1-44,5a273c5f…",
            ],
            ["binlog.000002.0000000001", "-", "1-2-3"],
        ];
        for count in 0..=rows.len() {
            let mut long = LongTable::new(&header, &[1]);
            rows[..count].iter().for_each(|row| long.add(row));
            let mut text = Vec::new();
            long.write(&mut text).expect("writes");
            let cells = |row: &[&str; 3]| row.map(str::to_owned).to_vec();
            let short = output::table(&header, &[1], rows[..count].iter().map(cells));
            assert_eq!(String::from_utf8(text).expect("text"), short);
        }
    }
}
