//! A small model of Cloud Storage's JSON API: what no emulator does, it does to the letter of the documentation. Sessions can be
//! asked how far they are, the CRC is compared, and what goes wrong is said request by request.

use binlogfs::store::Checksums;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// What goes wrong with a request.
#[derive(Clone)]
pub enum Trouble {
    /// Nothing.
    None,
    /// It is carried out, and the connection is closed instead of an answer.
    LostReply,
    /// Only the first bytes of a chunk arrive before the connection is closed.
    CutOff(usize),
    /// It is not carried out, and answered like this: status, headers, body.
    Answer(u16, &'static [(&'static str, &'static str)], &'static str),
    /// One bit of the object's bytes is another when it arrives.
    FlippedBit,
}

/// Every object's.
const GENERATION: &str = "1";

type Plan = dyn Fn(usize, &str) -> Trouble + Send + Sync;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// Name and bytes of each session; nothing once it is complete.
    sessions: Vec<Option<(String, Vec<u8>)>>,
    /// Method and kind of each request.
    asked: Vec<String>,
    /// The parameters of each request.
    queries: Vec<String>,
    /// How new objects were described.
    described: Vec<String>,
}

/// A running server.
pub struct Model {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Model {
    /// Starts one in the current runtime. `plan` is told the number of a request, from 0, and what it is.
    pub async fn start(plan: impl Fn(usize, &str) -> Trouble + Send + Sync + 'static) -> Model {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let served = (
            Arc::clone(&state),
            endpoint.clone(),
            Arc::new(plan) as Arc<Plan>,
        );
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // As servers have it: the end of an answer does not wait for the client to acknowledge its beginning.
                let _ = socket.set_nodelay(true);
                let (state, endpoint, plan) = served.clone();
                let answer = hyper::service::service_fn(move |request| {
                    let (state, endpoint, plan) =
                        (Arc::clone(&state), endpoint.clone(), Arc::clone(&plan));
                    async move { answer(&state, &endpoint, &*plan, request).await }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), answer),
                );
            }
        });
        Model { endpoint, state }
    }

    /// The object with this name.
    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        lock(&self.state).objects.get(name).cloned()
    }

    /// How new objects were described, in order.
    pub fn described(&self) -> Vec<serde_json::Value> {
        let state = lock(&self.state);
        let read = |text: &String| serde_json::from_str(text).expect("JSON");
        state.described.iter().map(read).collect()
    }

    /// The parameters of each request, in order.
    pub fn queries(&self) -> Vec<String> {
        lock(&self.state).queries.clone()
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.state).asked.clone()
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

type Answer = Response<Full<Bytes>>;

/// Closes the connection: hyper has no better word for it.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

async fn answer(
    state: &Mutex<State>,
    endpoint: &str,
    plan: &Plan,
    request: Request<Incoming>,
) -> Result<Answer, Closed> {
    let (head, body) = request.into_parts();
    let mut body = body
        .collect()
        .await
        .map_err(|_| Closed)?
        .to_bytes()
        .to_vec();
    let query: BTreeMap<String, String> = form(head.uri.query().unwrap_or_default());
    let path = head.uri.path().to_owned();
    let range = head.headers.get("content-range");
    let range = range.map(|range| range.to_str().expect("text").to_owned());
    let what = match (head.method.as_str(), query.get("uploadType"), &range) {
        ("POST", Some(kind), _) => kind.clone(),
        ("PUT", _, Some(range)) if range.contains('*') && !range.contains('-') => "ask".to_owned(),
        ("PUT", ..) => "chunk".to_owned(),
        (method, ..) => method.to_owned(),
    };
    let mut state = lock(state);
    let n = state.asked.len();
    state.asked.push(what.clone());
    let parameters = head.uri.query().unwrap_or_default();
    state.queries.push(parameters.to_owned());
    let trouble = plan(n, &what);
    match trouble {
        Trouble::Answer(status, headers, text) => return Ok(text_answer(status, headers, text)),
        Trouble::FlippedBit => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        Trouble::CutOff(bytes) => {
            let range = range.expect("a chunk");
            state.put(&path, &range, &body[..bytes], None);
            return Err(Closed);
        }
        Trouble::None | Trouble::LostReply => {}
    }
    let crc = head
        .headers
        .get("x-goog-hash")
        .map(|hash| hash.to_str().expect("text").to_owned());
    let done = match what.as_str() {
        "multipart" => state.insert(&query["name"], &body),
        "resumable" => {
            let description = String::from_utf8_lossy(&body).into_owned();
            state.described.push(description);
            state.begin(endpoint, &query["name"])
        }
        "chunk" | "ask" => state.put(&path, &range.expect("a range"), &body, crc.as_deref()),
        "GET" => state.get(&path),
        "DELETE" if path.starts_with("/session/") => text_answer(499, &[], ""),
        "DELETE" => state.delete(&path, query.get("ifGenerationMatch")),
        other => panic!("no such request: {other} {path}"),
    };
    match trouble {
        Trouble::LostReply => Err(Closed),
        _ => Ok(done),
    }
}

impl State {
    fn insert(&mut self, name: &str, body: &[u8]) -> Answer {
        let parts: Vec<&[u8]> = split(body, b"\r\n\r\n", 3);
        let [_, description, rest] = parts[..] else {
            panic!("three parts");
        };
        let end = rest
            .windows(4)
            .rposition(|w| w == b"\r\n--")
            .expect("an end");
        let bytes = rest[..end].to_vec();
        let told = String::from_utf8_lossy(description);
        let json = told.split("\r\n").next().expect("a line").to_owned();
        self.described.push(json);
        let told = told.split('"').nth(3).expect("a CRC").to_owned();
        self.make(name, bytes, Some(&told))
    }

    fn make(&mut self, name: &str, bytes: Vec<u8>, told: Option<&str>) -> Answer {
        if self.objects.contains_key(name) {
            return condition_not_met();
        }
        let crc = crc_text(&bytes);
        if told.is_some_and(|told| told != crc) {
            return error(
                400,
                "invalid",
                "Provided CRC32C \\\"A\\\" doesn't match calculated CRC32C \\\"B\\\".",
            );
        }
        let described = describe(&bytes);
        self.objects.insert(name.to_owned(), bytes);
        described
    }

    fn begin(&mut self, endpoint: &str, name: &str) -> Answer {
        self.sessions.push(Some((name.to_owned(), Vec::new())));
        let mut answer = text_answer(200, &[], "");
        let location = format!("{endpoint}/session/{}", self.sessions.len() - 1);
        answer
            .headers_mut()
            .insert("location", location.parse().expect("a value"));
        answer
    }

    /// A chunk, or part of one, or the question how far the session is.
    fn put(&mut self, path: &str, range: &str, body: &[u8], hash: Option<&str>) -> Answer {
        let id: usize = path
            .rsplit('/')
            .next()
            .expect("an id")
            .parse()
            .expect("a number");
        let (place, total) = range
            .strip_prefix("bytes ")
            .expect("bytes")
            .split_once('/')
            .expect("a total");
        let Some(session) = &mut self.sessions[id] else {
            // Complete: it says again what it made.
            let made = self.objects.values().next_back().expect("an object");
            return describe(made);
        };
        if let Some((from, _)) = place.split_once('-') {
            let from: usize = from.parse().expect("a number");
            assert_eq!(
                from,
                session.1.len(),
                "bytes that leave a gap, or come twice"
            );
            session.1.extend_from_slice(body);
        }
        if total.parse() == Ok(session.1.len()) {
            let (name, bytes) = self.sessions[id].take().expect("going on");
            let told = hash.map(|hash| hash.strip_prefix("crc32c=").expect("a CRC"));
            return self.make(&name, bytes, told);
        }
        let held = session.1.len();
        let mut answer = text_answer(308, &[], "");
        if held > 0 {
            let range = format!("bytes=0-{}", held - 1);
            answer
                .headers_mut()
                .insert("range", range.parse().expect("a value"));
        }
        answer
    }

    fn get(&self, path: &str) -> Answer {
        match self.objects.get(&name_of(path)) {
            Some(bytes) => describe(bytes),
            None => error(404, "notFound", "No such object"),
        }
    }

    fn delete(&mut self, path: &str, generation: Option<&String>) -> Answer {
        let is_there = self.objects.contains_key(&name_of(path));
        if is_there && generation.is_some_and(|generation| generation != GENERATION) {
            return condition_not_met();
        }
        match self.objects.remove(&name_of(path)) {
            Some(_) => text_answer(204, &[], ""),
            None => error(404, "notFound", "No such object"),
        }
    }
}

fn name_of(path: &str) -> String {
    let name = path.rsplit('/').next().expect("a name");
    name.replace("%2F", "/")
}

fn describe(bytes: &[u8]) -> Answer {
    let text = format!(
        r#"{{"size":"{}","crc32c":"{}","generation":"{GENERATION}"}}"#,
        bytes.len(),
        crc_text(bytes)
    );
    Response::new(Full::from(text))
}

fn crc_text(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let crc = Checksums::of(bytes).crc32c.to_be_bytes();
    base64::engine::general_purpose::STANDARD.encode(crc)
}

fn condition_not_met() -> Answer {
    error(
        412,
        "conditionNotMet",
        "At least one of the pre-conditions you specified did not hold.",
    )
}

fn error(status: u16, reason: &str, message: &str) -> Answer {
    let text = format!(
        r#"{{"error":{{"code":{status},"message":"{message}","errors":[{{"reason":"{reason}"}}]}}}}"#
    );
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status.try_into().expect("a status");
    answer
}

fn text_answer(status: u16, headers: &[(&'static str, &'static str)], text: &str) -> Answer {
    let mut answer = Response::new(Full::from(text.to_owned()));
    *answer.status_mut() = status.try_into().expect("a status");
    for (name, value) in headers {
        answer
            .headers_mut()
            .insert(*name, value.parse().expect("a value"));
    }
    answer
}

fn split<'a>(bytes: &'a [u8], at: &[u8], parts: usize) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut found = Vec::new();
    while found.len() + 1 < parts
        && let Some(place) = rest.windows(at.len()).position(|w| w == at)
    {
        found.push(&rest[..place]);
        rest = &rest[place + at.len()..];
    }
    found.push(rest);
    found
}

fn form(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.replace("%2F", "/")))
        .collect()
}
