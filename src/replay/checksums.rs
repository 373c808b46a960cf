//! What is in a server's tables, as numbers that can be compared.

use super::target::Target;
use crate::source::server::ServerError;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// Tables of people.
const TABLES: &str = "SELECT TABLE_SCHEMA AS place, TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' \
    AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') ORDER BY 1, 2";

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum ChecksumError {
    /// The server does not answer as it should.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A table cannot be opened: the server gives it no checksum, and says why in a warning.
    #[error("the table {table} cannot be read: {why}")]
    Unreadable {
        /// Which.
        table: String,
        /// The server's words.
        why: String,
    },
    /// Somebody asked to stop.
    #[error("it was asked to stop")]
    Stopped,
}

/// CHECKSUM TABLE of each table.
///
/// # Errors
/// [`ChecksumError`].
pub async fn checksums(
    target: &mut Target,
    stop: &watch::Receiver<bool>,
) -> Result<BTreeMap<String, u64>, ChecksumError> {
    let server = target.connection();
    let tables = server.rows(TABLES).await?;
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let mut sums = BTreeMap::new();
    for row in tables.rows() {
        let (Some(place), Some(name)) = (row.get(&["place"]), row.get(&["name"])) else {
            continue;
        };
        if *stop.borrow() {
            return Err(ChecksumError::Stopped);
        }
        let table = format!("{place}.{name}");
        let statement = format!("CHECKSUM TABLE {}.{} EXTENDED", quoted(place), quoted(name));
        let answer = server.rows(&statement).await?;
        let first = answer.rows().next();
        match first.and_then(|row| row.get(&["Checksum"])?.parse().ok()) {
            Some(sum) => drop(sums.insert(table, sum)),
            None => {
                let warnings = server.rows("SHOW WARNINGS").await?;
                let first = warnings.rows().next();
                let why = first.and_then(|row| row.get(&["Message"]).map(str::to_owned));
                let why = why.unwrap_or_else(|| "the server does not say why".to_owned());
                return Err(ChecksumError::Unreadable { table, why });
            }
        }
    }
    Ok(sums)
}
