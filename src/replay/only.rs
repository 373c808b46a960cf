//! Some tables instead of all.
//!
//! Only the server's applier can do that: it looks at the tables that a statement or a row names (`REPLICATE_WILD_DO_TABLE`). mysqlbinlog's
//! `--database` looks at the session's default database instead, and leaves out, or lets through, what names another one.

use std::fmt;
use std::str::FromStr;

/// A pattern of the server's for tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePattern(String);

/// Text that names no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no table: write it as DATABASE.TABLE")]
pub struct NoTable(String);

impl TablePattern {
    /// All tables of a database.
    pub fn database(name: &str) -> TablePattern {
        TablePattern(format!("{}.%", literal(name)))
    }

    /// The statement that makes a channel apply only what touches these.
    pub(super) fn filter(patterns: &[TablePattern], channel: &str) -> String {
        let quoted = patterns.iter().map(|pattern| {
            let text = pattern.0.replace('\\', "\\\\").replace('\'', "\\'");
            format!("'{text}'")
        });
        let list = quoted.collect::<Vec<_>>().join(", ");
        format!(
            "CHANGE REPLICATION FILTER REPLICATE_WILD_DO_TABLE = ({list}) FOR CHANNEL '{channel}'"
        )
    }
}

impl FromStr for TablePattern {
    type Err = NoTable;

    fn from_str(text: &str) -> Result<TablePattern, NoTable> {
        match text.split_once('.') {
            Some((database, table)) if !database.is_empty() && !table.is_empty() => Ok(
                TablePattern(format!("{}.{}", literal(database), literal(table))),
            ),
            _ => Err(NoTable(text.to_owned())),
        }
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace('\\', ""))
    }
}

/// A name in which nothing stands for something else.
fn literal(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if matches!(c, '%' | '_' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are_written() {
        let patterns = [
            TablePattern::database("shop_eu"),
            "it's.a%b".parse().expect("a table"),
        ];
        assert_eq!(
            TablePattern::filter(&patterns, "c"),
            r"CHANGE REPLICATION FILTER REPLICATE_WILD_DO_TABLE = ('shop\\_eu.%', 'it\'s.a\\%b') FOR CHANNEL 'c'"
        );
        assert_eq!(patterns.map(|p| p.to_string()), ["shop_eu.%", "it's.a%b"]);
        for wrong in ["", "orders", ".t", "d."] {
            assert!(wrong.parse::<TablePattern>().is_err(), "{wrong}");
        }
    }
}
