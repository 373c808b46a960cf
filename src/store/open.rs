//! From a URL to a store: the one place where decorators are put on.

use super::{
    Error, ErrorKind, FileStore, Result, RetryPolicy, RetryStore, S3Store, SharedStore,
    SingleWriterStore,
};
use crate::model::StoreUrl;
use crate::model::url::Location;
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
/// [`ErrorKind::NoSuchBucket`] when the directory does not exist; [`ErrorKind::Unsupported`] for a kind of store that
/// this build lacks.
pub async fn open(url: &StoreUrl, mode: OpenMode) -> Result<SharedStore> {
    open_for(url, mode, Writers::Many).await
}

/// Opens the store at `url` for these writers, with retries.
///
/// # Errors
/// As [`open`].
pub async fn open_for(url: &StoreUrl, mode: OpenMode, writers: Writers) -> Result<SharedStore> {
    let name = url.to_string();
    let retries = RetryPolicy::default();
    let store: SharedStore = match &url.location {
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
        Location::S3 { .. } => Arc::new(S3Store::connect(url, retries).await?),
        Location::Gcs { .. } => {
            return Err(
                Error::new(ErrorKind::Unsupported, "open", "the root", name).because(
                    "gs:// is not in this build yet; use s3://bucket/prefix or file:///directory",
                ),
            );
        }
    };
    let store: SharedStore = match writers {
        Writers::Many => store,
        Writers::One => Arc::new(SingleWriterStore::new(store)),
    };
    Ok(Arc::new(RetryStore::new(store, retries)))
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

    #[tokio::test]
    async fn a_store_that_is_not_built_in_is_refused_by_name() {
        let text = "gs://bucket/prod";
        let error = open(&url(text), OpenMode::Create)
            .await
            .err()
            .expect("refused");
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.to_string().contains(text), "{error}");
    }
}
