//! Telling people of alarms: a webhook, a command, or both. Each notice goes to both once, tried again for a while. Each has a
//! queue of its own: a webhook that does not answer must not keep the command from paging somebody.

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
/// The pause after the first failure; each later one is three times as long, four minutes in all.
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
        let (mut queues, mut ways) = (Vec::new(), Vec::new());
        let mut add = |way: Way| {
            let (bodies, waiting) = mpsc::channel(QUEUE_MAX);
            queues.push((way.name(), bodies));
            ways.push(way.tell_all(waiting));
        };
        if let Some(url) = self.webhook {
            add(Way::Webhook(client()?, url));
        }
        if let [program, arguments @ ..] = self.command.as_slice() {
            add(Way::Command(program.clone(), arguments.to_vec()));
        }
        let telling = tokio::spawn(async move {
            let distribute = async move {
                while let Some(message) = queue.recv().await {
                    hand_out(&message, &queues);
                }
            };
            futures::future::join(distribute, futures::future::join_all(ways)).await;
        });
        Ok((sender, telling))
    }
}

/// Puts a message into the queue of each way.
fn hand_out(message: &Message, queues: &[(&str, mpsc::Sender<Vec<u8>>)]) {
    let body = match serde_json::to_vec(message) {
        Ok(body) => body,
        Err(error) => return tracing::error!(%error, "an alarm cannot be written as JSON"),
    };
    for (what, queue) in queues {
        if queue.try_send(body.clone()).is_err() {
            tracing::error!(what, "too many alarms wait to be told: this one is not");
        }
    }
}

/// One way to tell.
enum Way {
    Webhook(reqwest::Client, String),
    /// A program and its arguments.
    Command(String, Vec<String>),
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Way::Webhook(..) => "webhook",
            Way::Command(..) => "command",
        }
    }

    /// Tells what is in the queue, in its order, until it is closed.
    async fn tell_all(self, mut queue: mpsc::Receiver<Vec<u8>>) {
        while let Some(body) = queue.recv().await {
            match &self {
                Way::Webhook(client, url) => {
                    persist(self.name(), || post(client, url, body.clone())).await;
                }
                Way::Command(program, arguments) => {
                    persist(self.name(), || call(program, arguments, &body)).await;
                }
            }
        }
    }
}

fn call(
    program: &str,
    arguments: &[String],
    body: &[u8],
) -> impl Future<Output = Result<(), String>> + use<> {
    let (program, arguments, body) = (program.to_owned(), arguments.to_vec(), body.to_vec());
    async move {
        let run = move || run(&program, &arguments, &body);
        tokio::task::spawn_blocking(run)
            .await
            .unwrap_or_else(|e| Err(e.to_string()))
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
        // A program that does not read may still do its work. An alarm with long GTID sets is larger than a pipe's buffer: who
        // writes it waits until it is read, or nobody has the other end any more, and nobody waits for that.
        let body = body.to_vec();
        let named = std::thread::Builder::new().name("alarm".to_owned());
        if let Err(error) = named.spawn(move || stdin.write_all(&body)) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error.to_string());
        }
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

#[cfg(test)]
mod tests {
    use super::super::alarm::{Alarm, AlarmKind, Event, Severity};
    use super::*;

    fn message(kind: AlarmKind) -> Message {
        Message {
            stream: "orders".to_owned(),
            url: "memory".to_owned(),
            host: "here".to_owned(),
            at: Micros(0),
            notice: Notice {
                event: Event::Raised,
                alarm: Alarm {
                    kind,
                    severity: Severity::Critical,
                    text: "...".to_owned(),
                },
                since: Micros(0),
            },
        }
    }

    #[test]
    fn a_command_that_does_not_read_a_long_alarm_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let reader = dir.path().join("reader");
        // What it leaves behind has the pipe open, and reads nothing of it.
        let script = format!(
            "exec 3<&0; sleep 86400 <&3 & echo $! > {}",
            reader.display()
        );
        let done = run(
            "sh",
            &["-c".to_owned(), script],
            "x".repeat(1 << 20).as_bytes(),
        );
        let left = std::fs::read_to_string(&reader).expect("it was begun");
        let ended = Command::new("kill").arg(left.trim()).status();
        assert!(ended.expect("kill is there").success());
        assert_eq!(done, Ok(()));
    }

    #[tokio::test]
    async fn a_webhook_that_hangs_does_not_keep_the_command_from_telling() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = silent.local_addr().expect("bound");
        let dir = tempfile::tempdir().expect("a directory");
        let heard = dir.path().join("heard");
        let command = format!("cat >> {0}; echo >> {0}", heard.display());
        let ways = Ways {
            webhook: Some(format!("http://{address}/")),
            command: ["sh", "-c", command.as_str()].map(str::to_owned).to_vec(),
        };
        let (notices, telling) = ways.start().expect("starts");
        for kind in [AlarmKind::Lag, AlarmKind::Expiry] {
            notices.send(message(kind)).await.expect("taken");
        }
        let both = async {
            loop {
                let text = std::fs::read_to_string(&heard).unwrap_or_default();
                if text.contains("\"lag\"") && text.contains("\"expiry\"") {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // The webhook has not even given up its first try by then.
        tokio::time::timeout(TIMEOUT, both)
            .await
            .expect("both are told");
        telling.abort();
    }
}
