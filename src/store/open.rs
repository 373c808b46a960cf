//! From a URL to a store: the one place where decorators are put on.

use super::retry::Retries;
use super::{
    CopiesStore, Error, ErrorKind, FileStore, GcsStore, Protection, Result, RetryPolicy,
    RetryStore, S3Store, SharedStore, SingleWriterStore,
};
use crate::model::StoreUrl;
use crate::model::url::Location;
use std::path::Path;
use std::sync::Arc;

/// What may be done if the place does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist.
    Existing,
    /// A directory is made; a bucket never is.
    Create,
}

/// Who writes to a store at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Anybody: the store's conditional create keeps them apart.
    Many,
    /// Nobody else, as a person promised, because the store has no conditional create.
    One,
}

/// Opens the store at `url`, with retries.
///
/// # Errors
/// [`ErrorKind::NoSuchBucket`] when the directory does not exist; [`ErrorKind::WrongRegion`] when S3 has none to ask;
/// [`ErrorKind::Tls`] when this host cannot check certificates.
pub async fn open(url: &StoreUrl, mode: OpenMode) -> Result<SharedStore> {
    open_for(url, mode, Writers::Many, None, Protection::default()).await
}

/// Opens the store at `url` for readers, with the stores at `copies` behind it.
///
/// # Errors
/// As [`open`]. A copy that cannot be opened is told of and left out: it is there for the day on which the first store fails, and not
/// to fail with.
pub async fn open_with_copies(url: &StoreUrl, copies: &[StoreUrl]) -> Result<SharedStore> {
    let first = open(url, OpenMode::Existing).await?;
    let mut opened = Vec::new();
    for copy in copies {
        match open(copy, OpenMode::Existing).await {
            Ok(store) => opened.push(store),
            Err(error) => tracing::warn!(%error, "this replica is not read"),
        }
    }
    Ok(match opened.is_empty() {
        true => first,
        false => Arc::new(CopiesStore::new(first, opened)),
    })
}

/// Opens the store at `url` for these writers, with retries, in the name of whom the file `credentials` tells instead of whom the
/// environment does: one as `aws configure` writes it for S3, the key of a service account for Google. What is made is protected
/// as `protection` says.
///
/// # Errors
/// As [`open`]; [`ErrorKind::Credentials`] when the file cannot be read; [`ErrorKind::Unsupported`] when a directory shall lock.
pub async fn open_for(
    url: &StoreUrl,
    mode: OpenMode,
    writers: Writers,
    credentials: Option<&Path>,
    protection: Protection,
) -> Result<SharedStore> {
    let name = url.to_string();
    if let Some(path) = credentials
        && let Err(error) = std::fs::File::open(path)
    {
        let cause = format!("the credentials in {}: {error}", path.display());
        return Err(Error::new(ErrorKind::Credentials, "open", "the store", name).because(cause));
    }
    // One budget for the store's own retries and the decorator's.
    let retries = Arc::new(Retries::new(RetryPolicy::default()));
    let store: SharedStore = match &url.location {
        Location::File { .. } if !protection.is_none() => {
            let why = "a directory locks nothing; leave object_lock and legal_hold out";
            return Err(Error::new(ErrorKind::Unsupported, "open", "the root", name).because(why));
        }
        Location::File { dir } => {
            let dir = dir.clone();
            let opened = tokio::task::spawn_blocking(move || match mode {
                OpenMode::Existing => FileStore::open(dir),
                OpenMode::Create => FileStore::create_dir_all(dir),
            });
            let store = opened.await.map_err(|error| {
                Error::new(ErrorKind::Permanent, "open", "the root", name).because(error)
            })??;
            Arc::new(store)
        }
        Location::S3 { .. } => {
            Arc::new(S3Store::sharing(url, Arc::clone(&retries), credentials, protection).await?)
        }
        Location::Gcs { .. } => Arc::new(GcsStore::sharing(
            url,
            Arc::clone(&retries),
            credentials,
            protection,
        )?),
    };
    let store: SharedStore = match writers {
        Writers::Many => store,
        Writers::One => Arc::new(SingleWriterStore::new(store)),
    };
    Ok(Arc::new(RetryStore::sharing(store, retries)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> StoreUrl {
        text.parse().expect("a URL")
    }

    #[tokio::test]
    async fn a_directory_is_made_only_when_asked_for() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("prod/orders");
        let url = url(&format!("file://{}", dir.display()));
        let error = open(&url, OpenMode::Existing).await.err().expect("refused");
        assert_eq!(error.kind, ErrorKind::NoSuchBucket);
        assert!(error.to_string().contains("create it or correct the URL"));
        assert!(!dir.exists());
        let store = open(&url, OpenMode::Create).await.expect("opened");
        assert_eq!(store.describe(), url.to_string());
        assert!(dir.is_dir());
        open(&url, OpenMode::Existing).await.expect("opened again");
    }
}
