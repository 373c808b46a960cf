//! In whose name requests are made: the account of Google's default credentials, or nobody's.

use super::failure::{Asked, Failure};
use crate::store::causes::chain;
use crate::store::{ErrorKind, Outcome};
use google_cloud_auth::credentials::{Builder, CacheableResource, Credentials, service_account};
use reqwest::header::HeaderMap;
use std::path::{Path, PathBuf};
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
    /// The service account whose key is in this file. Found in the same way.
    Service(PathBuf, Mutex<Option<Credentials>>),
}

impl Account {
    /// The account whose key is in a file, or that the environment names.
    pub(super) fn new(key_file: Option<&Path>) -> Account {
        match key_file {
            Some(path) => Account::Service(path.to_owned(), Mutex::new(None)),
            None => Account::Default(Mutex::new(None)),
        }
    }

    /// Looks for the credentials anew.
    fn find(&self) -> Asked<Credentials> {
        let failure =
            |cause: String| Failure::new(ErrorKind::Credentials, Outcome::NoEffect, &cause);
        let Account::Service(path, _) = self else {
            let built = Builder::default().build();
            return built.map_err(|error| failure(format!("{}; {HOW_TO}", chain(&error))));
        };
        let shown = path.display();
        // What is wrong with a key is not repeated: it may be a part of it.
        let key = std::fs::read(path).map_err(|error| {
            failure(format!("the key of a service account in {shown}: {error}"))
        })?;
        let key = serde_json::from_slice(&key).map_err(|_| {
            failure(format!(
                "{shown} is not the key of a service account in JSON"
            ))
        })?;
        service_account::Builder::new(key)
            .build()
            .map_err(|_| failure(format!("{shown} is not the key of a service account")))
    }

    /// The headers of the next request, which are a secret.
    pub(super) async fn headers(&self) -> Asked<HeaderMap> {
        let (Account::Default(found) | Account::Service(_, found)) = self else {
            return Ok(HeaderMap::new());
        };
        let credentials = {
            let mut found = found.lock().await;
            match &*found {
                Some(credentials) => credentials.clone(),
                None => found.insert(self.find()?).clone(),
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
        if let Account::Default(found) | Account::Service(_, found) = self {
            *found.lock().await = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::process::Command;

    /// Where google-cloud-auth looks for the metadata server of the host.
    const METADATA_HOST: &str = "GCE_METADATA_HOST";
    const TEST: &str = "an_expired_token_is_replaced_by_one_that_was_asked_for_anew";

    /// A metadata server that gives another token at each request.
    fn metadata_server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("bound").to_string();
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let mut stream = stream.expect("connected");
                let mut request = [0; 4096];
                let read = stream.read(&mut request).expect("a request");
                let request = String::from_utf8_lossy(&request[..read]).to_lowercase();
                assert!(
                    request.contains("/service-accounts/default/token"),
                    "{request}"
                );
                assert!(request.contains("metadata-flavor: google"), "{request}");
                let body = format!(
                    r#"{{"access_token":"token-{}","expires_in":3600,"token_type":"Bearer"}}"#,
                    n + 1
                );
                let reply = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(reply.as_bytes()).expect("sent");
            }
        });
        address
    }

    async fn token(account: &Account) -> String {
        let headers = account
            .headers()
            .await
            .unwrap_or_else(|_| panic!("no token"));
        let text = headers.get("authorization").expect("a token").to_str();
        text.expect("text").to_owned()
    }

    /// The key of a service account with this address, as Google gives it out.
    fn key_of(email: &str) -> String {
        let made = Command::new("openssl")
            .args([
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
            ])
            .output()
            .expect("openssl is there");
        let key = String::from_utf8(made.stdout).expect("PEM");
        serde_json::json!({
            "type": "service_account",
            "project_id": "test",
            "private_key_id": "1",
            "private_key": key,
            "client_email": email,
            "client_id": "1",
            "token_uri": "https://oauth2.googleapis.com/token",
        })
        .to_string()
    }

    #[tokio::test]
    async fn a_key_file_is_whom_requests_are_made_for_and_what_is_wrong_with_one_is_named() {
        use base64::Engine as _;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("acme.json");
        let account = Account::new(Some(&path));
        let failed = |failure: Failure| format!("{failure:?}");
        let absent = account.headers().await.err().map(failed).expect("no file");
        assert!(absent.contains("acme.json"), "{absent}");
        std::fs::write(&path, "no JSON").expect("writable");
        let wrong = account.headers().await.err().map(failed).expect("no key");
        assert!(wrong.contains("acme.json is not the key"), "{wrong}");
        for email in [
            "one@test.iam.gserviceaccount.com",
            "two@test.iam.gserviceaccount.com",
        ] {
            std::fs::write(&path, key_of(email)).expect("writable");
            account.forget().await;
            let token = token(&account).await;
            let claims = token.split('.').nth(1).expect("a token in three parts");
            let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims);
            let claims: serde_json::Value =
                serde_json::from_slice(&claims.expect("base64")).expect("JSON");
            assert_eq!(claims["iss"], email, "{claims}");
        }
    }

    #[test]
    fn an_expired_token_is_replaced_by_one_that_was_asked_for_anew() {
        if std::env::var_os(METADATA_HOST).is_none() {
            // The environment is read by a library: it is set for a process that plays this test again.
            let home = tempfile::tempdir().expect("a directory");
            let output = Command::new(std::env::current_exe().expect("it runs"))
                .args([TEST, "--nocapture"])
                .env(METADATA_HOST, metadata_server())
                .env_remove("GOOGLE_APPLICATION_CREDENTIALS")
                .env("HOME", home.path())
                .output()
                .expect("it runs again");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            return assert!(said.contains("1 passed"), "{said}");
        }
        // As whoever connects to the service does.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let account = Account::new(None);
            assert_eq!(token(&account).await, "Bearer token-1");
            assert_eq!(
                token(&account).await,
                "Bearer token-1",
                "one is enough for an hour"
            );
            account.forget().await;
            assert_eq!(token(&account).await, "Bearer token-2");
        });
    }
}
