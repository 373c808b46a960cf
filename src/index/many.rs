//! New rows, many to a statement: a statement of its own costs as much as the row that it writes.
//!
//! They wait while records only append. Whatever reads or changes their tables in a batch has them written out first.

use super::error::Fault;
use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::slice;

/// Rows of one statement: a page of the ledger has a multiple of it.
const ROWS: usize = 100;

/// Inserts rows, and tells how many. `into` says how, into which table, and which columns.
pub(super) fn insert<'r, T, const N: usize>(
    conn: &Connection,
    into: &str,
    rows: &'r [T],
    values: impl Fn(&'r T) -> [ValueRef<'r>; N],
) -> Result<usize, Fault> {
    // Two lengths, and so two statements: the cache of statements holds a few.
    let (many, single) = rows.as_chunks::<ROWS>();
    let mut inserted = 0;
    for rows in many {
        inserted += insert_at_once(conn, into, rows, &values)?;
    }
    for row in single {
        inserted += insert_at_once(conn, into, slice::from_ref(row), &values)?;
    }
    Ok(inserted)
}

fn insert_at_once<'r, T, const N: usize>(
    conn: &Connection,
    into: &str,
    rows: &'r [T],
    values: &impl Fn(&'r T) -> [ValueRef<'r>; N],
) -> Result<usize, Fault> {
    let row = format!("({})", ["?"; N].join(", "));
    let all = vec![row.as_str(); rows.len()].join(", ");
    let mut statement = conn.prepare_cached(&format!("INSERT {into} VALUES {all}"))?;
    for (at, value) in rows.iter().flat_map(values).enumerate() {
        statement.raw_bind_parameter(at + 1, ToSqlOutput::Borrowed(value))?;
    }
    Ok(statement.raw_execute()?)
}

/// A number, or NULL.
pub(super) fn integer(number: Option<i64>) -> ValueRef<'static> {
    number.map_or(ValueRef::Null, ValueRef::Integer)
}
