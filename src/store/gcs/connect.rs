//! From a URL and the environment to a client: endpoint, account, TLS and timeouts.

use super::account::Account;
use super::failure::{Asked, Failure};
use crate::store::{Error, ErrorKind, Outcome, Result, roots};
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use std::path::Path;
use std::time::Duration;

/// The service's address.
const ENDPOINT: &str = "https://storage.googleapis.com";
/// Where Google's own clients look for an emulator, too.
const EMULATOR: &str = "STORAGE_EMULATOR_HOST";
/// To the store's address: a host that does not answer by then is down or behind a firewall.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the request to the first byte of its answer, the sending of a chunk included: 8 MiB at 1 Mbit/s take 67 s.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(120);
/// A body that does not move for this long is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The largest answer that is not an object's bytes: a page of a thousand names of a kilobyte each, with all that an emulator says.
const ANSWER_MAX_BYTES: usize = 8 << 20;

/// A client of the service.
pub(super) struct Service {
    pub(super) client: Client,
    pub(super) base: Url,
    account: Account,
}

/// An answer whose body has not been read.
pub(super) struct Answer(Response);

/// Makes a client. Nothing is sent yet; credentials are looked up at the first request.
///
/// # Errors
/// As [`super::GcsStore::connect`].
pub(super) fn connect(
    endpoint: Option<&str>,
    credentials: Option<&Path>,
    name: &str,
) -> Result<Service> {
    let fail = |kind, cause: String| Error::new(kind, "open", "the bucket", name).because(cause);
    let emulator = || std::env::var(EMULATOR).ok().filter(|host| !host.is_empty());
    let base = match endpoint {
        Some(endpoint) => endpoint.to_owned(),
        None => emulator().map_or_else(|| ENDPOINT.to_owned(), |host| emulator_url(&host)),
    };
    let base = Url::parse(&base)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            let cause = format!("the endpoint is no address; write it as http://host:port, in the URL's endpoint= or in {EMULATOR}");
            fail(ErrorKind::Permanent, cause)
        })?;
    let tls = base.scheme() == "https";
    if let (true, Some(why)) = (tls, roots::missing()) {
        return Err(fail(ErrorKind::Tls, why));
    }
    // The process has one provider of cryptography for all clients; whoever set it first was as right.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        // 308 is no redirect here but "go on", and a token goes to nobody else.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .build()
        .map_err(|error| fail(ErrorKind::Tls, error.to_string()))?;
    let account = match tls {
        true => Account::new(credentials),
        false => Account::Anonymous,
    };
    Ok(Service {
        client,
        base,
        account,
    })
}

/// The address of an emulator, which some write without the scheme.
fn emulator_url(host: &str) -> String {
    match host.contains("://") {
        true => host.to_owned(),
        false => format!("http://{host}"),
    }
}

impl Service {
    /// Sends a request in the account's name.
    pub(super) async fn send(&self, request: RequestBuilder) -> Asked<Answer> {
        let headers = self.account.headers().await?;
        self.send_bare(request.headers(headers)).await
    }

    /// Sends a request that needs no name: the address of a session is a secret that says enough.
    pub(super) async fn send_bare(&self, request: RequestBuilder) -> Asked<Answer> {
        match tokio::time::timeout(FIRST_BYTE_TIMEOUT, request.send()).await {
            Ok(Ok(response)) => Ok(Answer(response)),
            Ok(Err(error)) => Err(Failure::of_transport(error)),
            Err(_) => Err(Failure::new(
                ErrorKind::Timeout,
                Outcome::Unknown,
                "no answer to the request",
            )),
        }
    }

    /// The credentials have expired.
    pub(super) async fn forget_credentials(&self) {
        self.account.forget().await;
    }
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.0.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.0.headers()
    }

    /// How long the body says that it is.
    pub(super) fn length(&self) -> Option<u64> {
        self.0.content_length()
    }

    /// The next piece of the body; nothing at its end.
    pub(super) async fn piece(&mut self) -> Asked<Option<Bytes>> {
        match tokio::time::timeout(STALL_TIMEOUT, self.0.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(Failure::of_transport(error)),
            Err(_) => Err(Failure::new(
                ErrorKind::Timeout,
                Outcome::Unknown,
                "the answer stopped in the middle",
            )),
        }
    }

    /// The whole of a body that is not an object's.
    pub(super) async fn text(&mut self) -> Asked<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            if body.len() + piece.len() > ANSWER_MAX_BYTES {
                return Err(Failure::new(
                    ErrorKind::Unsupported,
                    Outcome::Unknown,
                    "the answer is larger than any of Cloud Storage's; is this its JSON API?",
                ));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulator_is_named_with_or_without_its_scheme() {
        assert_eq!(emulator_url("localhost:4443"), "http://localhost:4443");
        assert_eq!(emulator_url("http://h:1"), "http://h:1");
        assert_eq!(emulator_url("https://h:1"), "https://h:1");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_way_out() {
        let error = connect(Some("http://:1"), None, "gs://b/p")
            .err()
            .expect("refused");
        assert!(error.to_string().contains("http://host:port"), "{error}");
    }
}
