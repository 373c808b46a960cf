//! What a mount on the database host adds: the files that are not archived yet and, if asked for, the archiver.

use super::agent::{self, Orders, Running};
use super::reading::{self, Reading};
use super::{Global, forest};
use crate::config::{AgentConfig, MysqlAccess, StreamConfig};
use crate::fs::LocalFiles;
use crate::model::StoreUrl;
use crate::source::Source;
use crate::store::{self, ErrorKind};
use crate::sync::place::Consent;
use anyhow::{Result, anyhow, bail};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an archiver may take to begin a stream that does not exist yet.
const BEGIN_PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const BEGIN_POLL: Duration = Duration::from_millis(100);

/// The server's files behind those of the stream.
///
/// # Errors
/// When there is no binlog index file.
pub fn files(local: &Path, opened: &Reading) -> Result<LocalFiles> {
    Ok(LocalFiles {
        server: Source::open(local)?,
        basename: opened.stream.file().basename.clone(),
    })
}

/// How the archiver in a mount works: as `binlogfs archive` does with these options.
#[derive(Clone, Debug, Default)]
pub struct Archiving {
    /// Public keys to encrypt to.
    pub recipients: Vec<String>,
    /// Asks the server of its settings, with the login in this option file.
    pub defaults_file: Option<PathBuf>,
}

impl Archiving {
    /// Begins to archive the files at `local` to `url`.
    ///
    /// # Errors
    /// When what it is told cannot be used.
    pub fn begin(&self, global: &Global, url: &StoreUrl, local: &Path) -> Result<Running> {
        Source::open(local)?;
        let stream = StreamConfig {
            name: url.to_string(),
            source: local.to_owned(),
            to: Some(url.clone()),
            replicas: global.replica.iter().cloned().map(Into::into).collect(),
            recipients: self.recipients.clone(),
            mysql: MysqlAccess {
                dsn: None,
                defaults_file: self.defaults_file.clone(),
            },
            ..StreamConfig::default()
        };
        stream
            .check_places()
            .map_err(|why| anyhow!("replica: {why}"))?;
        let orders = Orders {
            agent: AgentConfig::default(),
            tenants: Vec::new(),
            streams: vec![stream],
            consent: Consent::default(),
            file: None,
        };
        agent::begin(global, &orders)
    }
}

/// Whether a stream could not be opened because the archiver has not begun it, or its directory, yet.
fn is_to_come(error: &anyhow::Error) -> bool {
    let store = error.downcast_ref::<store::Error>();
    forest::is_above_streams(error)
        || store.is_some_and(|error| error.kind == ErrorKind::NoSuchBucket)
}

/// Opens the stream at `url`. One that does not exist yet is begun by the archiver that runs beside, and waited for.
///
/// # Errors
/// As [`reading::open_to_stay`]; why the archiver fails.
pub async fn open(global: &Global, url: &StoreUrl, archiver: Option<&Running>) -> Result<Reading> {
    let begun = Instant::now();
    loop {
        let error = match (reading::open_to_stay(global, url).await, archiver) {
            (Err(error), Some(_)) if is_to_come(&error) => error,
            (other, _) => return other,
        };
        if let Some(failure) = archiver.and_then(Running::failure) {
            bail!("the archiver cannot begin the stream: {failure}");
        }
        if begun.elapsed() > BEGIN_PATIENCE {
            return Err(error.context("no binlog is closed yet, so there is nothing to archive: FLUSH BINARY LOGS closes one"));
        }
        tokio::time::sleep(BEGIN_POLL).await;
    }
}
