//! Telling people of alarms: a webhook, a command, or both. Each notice goes to both once, tried again for a while.

use super::alarm::Notice;
use crate::model::Micros;
use serde::Serialize;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Notices that wait to be told; more than these are in the log alone.
const QUEUE_MAX: usize = 256;
/// How often each way is tried.
const TRIES: u32 = 6;
/// The pause after the first failure; each later one is three times as long, nine minutes in all.
const PAUSE_FIRST: Duration = Duration::from_secs(2);
/// How long a webhook or a command may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often a command is looked at whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Largest file with a URL in it.
const URL_MAX_BYTES: u64 = 4096;
/// The variable that may hold the webhook's URL instead of a file.
const WEBHOOK_VARIABLE: &str = "BINLOGFS_WEBHOOK";

/// What is posted, and what a command reads.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// The stream's name.
    pub stream: String,
    /// Its URL.
    pub url: String,
    /// The host that tells.
    pub host: String,
    /// When.
    pub at: Micros,
    /// What.
    #[serde(flatten)]
    pub notice: Notice,
}

/// Whom to tell.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    webhook: Option<String>,
    command: Vec<String>,
}

/// A way that cannot be used. Its text does not have the URL, which is often a secret.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct HookError {
    what: String,
    why: String,
}

fn fail(what: impl Into<String>, why: impl std::fmt::Display) -> HookError {
    HookError {
        what: what.into(),
        why: why.to_string(),
    }
}

impl Ways {
    /// The webhook whose URL is in `webhook_file` or in the environment, and the program `command` with its arguments.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no URL.
    pub fn new(webhook_file: Option<&PathBuf>, command: Vec<String>) -> Result<Ways, HookError> {
        let url = match webhook_file {
            Some(path) => {
                let what = format!("webhook_file {}", path.display());
                let file = std::fs::File::open(path).map_err(|e| fail(&what, e))?;
                let mut text = String::new();
                std::io::Read::read_to_string(
                    &mut std::io::Read::take(file, URL_MAX_BYTES),
                    &mut text,
                )
                .map_err(|e| fail(&what, e))?;
                Some((what, text))
            }
            None => std::env::var(WEBHOOK_VARIABLE)
                .ok()
                .map(|text| (WEBHOOK_VARIABLE.to_owned(), text)),
        };
        let webhook = match url {
            None => None,
            Some((what, text)) => {
                let text = text.trim();
                if !text.starts_with("http://") && !text.starts_with("https://") {
                    return Err(fail(
                        what,
                        "holds no URL; write one that begins with https:// into it",
                    ));
                }
                Some(text.to_owned())
            }
        };
        Ok(Ways { webhook, command })
    }

    /// Whether there is nobody to tell.
    pub fn is_empty(&self) -> bool {
        self.webhook.is_none() && self.command.is_empty()
    }

    /// Begins to tell what is sent to the sender. The task ends when that is dropped and all is told.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn start(self) -> Result<(mpsc::Sender<Message>, JoinHandle<()>), HookError> {
        let (sender, mut queue) = mpsc::channel::<Message>(QUEUE_MAX);
        let client = match &self.webhook {
            None => None,
            Some(_) => Some(client()?),
        };
        let telling = tokio::spawn(async move {
            while let Some(message) = queue.recv().await {
                self.tell(client.as_ref(), &message).await;
            }
        });
        Ok((sender, telling))
    }

    async fn tell(&self, client: Option<&reqwest::Client>, message: &Message) {
        let body = match serde_json::to_vec(message) {
            Ok(body) => body,
            Err(error) => return tracing::error!(%error, "an alarm cannot be written as JSON"),
        };
        if let (Some(client), Some(url)) = (client, &self.webhook) {
            let post = || post(client, url, body.clone());
            persist("webhook", post).await;
        }
        if let [program, arguments @ ..] = self.command.as_slice() {
            let call = || {
                let (program, arguments, body) =
                    (program.clone(), arguments.to_vec(), body.clone());
                async move {
                    let run = move || run(&program, &arguments, &body);
                    tokio::task::spawn_blocking(run)
                        .await
                        .unwrap_or_else(|e| Err(e.to_string()))
                }
            };
            persist("command", call).await;
        }
    }
}

fn client() -> Result<reqwest::Client, HookError> {
    // Somebody else may have chosen the same provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        // A webhook that moves would get the alarm as a GET.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| fail("webhook", error.without_url()))
}

async fn post(client: &reqwest::Client, url: &str, body: Vec<u8>) -> Result<(), String> {
    let sent = client
        .post(url)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await;
    match sent.map(|reply| reply.status()) {
        Ok(status) if status.is_success() => Ok(()),
        Ok(status) => Err(format!("HTTP status {status}")),
        Err(error) => Err(error.without_url().to_string()),
    }
}

fn run(program: &str, arguments: &[String], body: &[u8]) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Smaller than a pipe's buffer; a program that does not read it may still do its work.
        let _ = stdin.write_all(body);
    }
    let begun = std::time::Instant::now();
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("{program}: {status}")),
            None if begun.elapsed() < TIMEOUT => std::thread::sleep(LOOK_EVERY),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program}: ended after {} s", TIMEOUT.as_secs()));
            }
        }
    }
}

async fn persist<F>(what: &str, mut attempt: impl FnMut() -> F)
where
    F: Future<Output = Result<(), String>>,
{
    let mut pause = PAUSE_FIRST;
    for n in 1..=TRIES {
        match attempt().await {
            Ok(()) => return,
            Err(error) if n == TRIES => {
                tracing::error!(%error, what, "an alarm could not be told");
            }
            Err(error) => {
                tracing::warn!(%error, what, "an alarm could not be told yet");
                tokio::time::sleep(pause).await;
                pause *= 3;
            }
        }
    }
}
