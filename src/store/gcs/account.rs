//! In whose name requests are made: the account of Google's default credentials, or nobody's.

use super::failure::{Asked, Failure};
use crate::store::causes::chain;
use crate::store::{ErrorKind, Outcome};
use google_cloud_auth::credentials::{Builder, CacheableResource, Credentials};
use reqwest::header::HeaderMap;
use std::time::Duration;
use tokio::sync::Mutex;

/// A token comes from another server: Google's, a metadata server, or whoever says who a workload is.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// What to do without credentials.
const HOW_TO: &str = "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account or of a workload identity, run 'gcloud \
                      auth application-default login', or run where the metadata server knows an account";

/// Who asks.
pub(super) enum Account {
    /// Nobody: emulators do not ask.
    Anonymous,
    /// Whom the environment names. Found at the first request, and again after a failure: what looks after a token
    /// gives up for good when it cannot be renewed once.
    Default(Mutex<Option<Credentials>>),
}

impl Account {
    /// The account that the environment names.
    pub(super) fn of_environment() -> Account {
        Account::Default(Mutex::new(None))
    }

    /// The headers of the next request, which are a secret.
    pub(super) async fn headers(&self) -> Asked<HeaderMap> {
        let Account::Default(found) = self else {
            return Ok(HeaderMap::new());
        };
        let credentials = {
            let mut found = found.lock().await;
            match &*found {
                Some(credentials) => credentials.clone(),
                None => {
                    let made = Builder::default().build().map_err(|error| {
                        let cause = format!("{}; {HOW_TO}", chain(&error));
                        Failure::new(ErrorKind::Credentials, Outcome::NoEffect, &cause)
                    })?;
                    found.insert(made).clone()
                }
            }
        };
        let headers = credentials.headers(Default::default());
        let failure = match tokio::time::timeout(TOKEN_TIMEOUT, headers).await {
            Ok(Ok(CacheableResource::New { data, .. })) => return Ok(data),
            // Nothing was said of what we know.
            Ok(Ok(CacheableResource::NotModified)) => Failure::new(
                ErrorKind::Transient,
                Outcome::NoEffect,
                "the credentials gave no token",
            ),
            Ok(Err(error)) if error.is_transient() => Failure::new(
                ErrorKind::Transient,
                Outcome::NoEffect,
                &format!(
                    "no token for the request: {}; if there are no credentials, {HOW_TO}",
                    chain(&error)
                ),
            ),
            Ok(Err(error)) => Failure::new(
                ErrorKind::Credentials,
                Outcome::NoEffect,
                &format!("no token for the request: {}; {HOW_TO}", chain(&error)),
            ),
            Err(_) => Failure::new(
                ErrorKind::Timeout,
                Outcome::NoEffect,
                "no token for the request in time",
            ),
        };
        self.forget().await;
        Err(failure)
    }

    /// The credentials are no good any more: the next request looks for new ones.
    pub(super) async fn forget(&self) {
        if let Account::Default(found) = self {
            *found.lock().await = None;
        }
    }
}
