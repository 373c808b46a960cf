//! Answers as text.

/// An answer of a server.
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

/// A row of one.
pub struct Row<'a> {
    table: &'a Table,
    row: &'a [Option<String>],
}

impl Table {
    pub(super) fn new(columns: Vec<String>, rows: Vec<Vec<Option<String>>>) -> Table {
        Table { columns, rows }
    }

    /// Its rows.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|row| Row { table: self, row })
    }

    /// The first column of the first row.
    pub fn first(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }
}

impl<'a> Row<'a> {
    /// The value of the first column that has one of `names`, whatever its case. `None` for NULL, too.
    pub fn get(&self, names: &[&str]) -> Option<&'a str> {
        let column = |name: &&str| {
            let same = |column: &String| column.eq_ignore_ascii_case(name);
            self.table.columns.iter().position(same)
        };
        self.row.get(names.iter().find_map(column)?)?.as_deref()
    }
}
