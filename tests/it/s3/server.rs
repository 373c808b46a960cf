//! An S3 server within the test: s3s-fs, whose objects are files, on a free port of the loopback interface.
//!
//! Its conditional create looks and then writes, so that several concurrent creates of one key may win. Here requests for one
//! key go one after the other, which makes it one winner. What the server shall refuse is set while it runs.

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::path::S3Path;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::SeekFrom;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::net::TcpListener;

/// The credentials that it accepts.
pub const ACCESS_KEY: &str = "test-access-key";
/// Its secret.
pub const SECRET_KEY: &str = "test-secret-key";
/// The bucket that it has.
pub const BUCKET: &str = "binlogs";
/// What every client says; this server takes any.
pub const REGION: &str = "us-east-1";

/// Bytes of a body that are read and sent at once.
const PIECE_BYTES: usize = 256 << 10;
/// A free port of the loopback interface.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Somebody who may do anything below a prefix, and nothing anywhere else.
#[derive(Clone, Debug)]
pub struct Account {
    /// The access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// The prefix in the bucket, without a slash at its end.
    pub prefix: String,
}

/// A running server; dropped, it ends.
pub struct S3Server {
    address: SocketAddr,
    root: PathBuf,
    policy: Arc<Policy>,
    ended: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What it refuses and what it was asked.
#[derive(Default)]
struct Policy {
    denied: Mutex<BTreeSet<String>>,
    denied_below: Mutex<Option<String>>,
    no_overwrite: Mutex<Option<PathBuf>>,
    accounts: Vec<Account>,
    /// [`ACCESS_KEY`] is nobody whom it knows.
    accounts_only: bool,
    refused: Mutex<u64>,
    asked: Mutex<BTreeMap<String, u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait::async_trait]
impl S3Access for Policy {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if request.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        }
        let operation = request.s3_op().name();
        *lock(&self.asked).entry(operation.to_owned()).or_default() += 1;
        if lock(&self.denied).contains(operation) {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        if let Some(part) = &*lock(&self.denied_below)
            && operation == "PutObject"
            && request.uri().path().contains(part.as_str())
        {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let who = request.credentials().map(|who| who.access_key.clone());
        if let Some(account) = self
            .accounts
            .iter()
            .find(|a| Some(&a.access_key) == who.as_ref())
            && !account.may(request)
        {
            *lock(&self.refused) += 1;
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        if let Some(root) = &*lock(&self.no_overwrite)
            && operation == "PutObject"
            && let S3Path::Object { bucket, key } = request.s3_path()
            && root.join(&**bucket).join(&**key).exists()
        {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        Ok(())
    }
}

impl Account {
    /// As a policy would say it: objects below the prefix, and listings of what is below it.
    fn may(&self, request: &S3AccessContext<'_>) -> bool {
        let below = format!("{}/", self.prefix);
        match request.s3_path() {
            S3Path::Object { key, .. } => key.starts_with(&below),
            S3Path::Bucket { .. } => {
                let query = request.uri().query().unwrap_or_default().to_owned();
                let asked = query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix("prefix="));
                asked.is_some_and(|prefix| prefix.replace("%2F", "/").starts_with(&below))
            }
            S3Path::Root => false,
        }
    }
}

impl S3Server {
    /// Starts one that these may use, too.
    pub fn start_for(root: &Path, accounts: &[Account]) -> S3Server {
        S3Server::start_with(root, ANY_PORT, accounts, false)
    }

    /// Starts one that these may use, and nobody else.
    pub fn start_only_for(root: &Path, accounts: &[Account]) -> S3Server {
        S3Server::start_with(root, ANY_PORT, accounts, true)
    }

    /// How often it refused one of its accounts something.
    pub fn refused(&self) -> u64 {
        *lock(&self.policy.refused)
    }

    /// Starts one whose bucket is the directory `BUCKET` below `root`.
    pub fn start(root: &Path) -> S3Server {
        S3Server::start_on(root, ANY_PORT)
    }

    /// Starts one on `address`.
    pub fn start_on(root: &Path, address: SocketAddr) -> S3Server {
        S3Server::start_with(root, address, &[], false)
    }

    fn start_with(
        root: &Path,
        address: SocketAddr,
        accounts: &[Account],
        accounts_only: bool,
    ) -> S3Server {
        std::fs::create_dir_all(root.join(BUCKET)).expect("the directory is writable");
        let policy = Arc::new(Policy {
            accounts: accounts.to_vec(),
            accounts_only,
            ..Policy::default()
        });
        let service = Arc::new(Service {
            s3: service(root, Arc::clone(&policy)),
            root: root.to_owned(),
            locks: Locks::default(),
        });
        let (told, listens) = std::sync::mpsc::channel();
        let (ended, end) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind(address).await.expect("a free port");
                told.send(listener.local_addr().expect("an address"))
                    .expect("somebody waits");
                tokio::select! {
                    () = serve(listener, service) => {}
                    _ = end => {}
                }
            });
            runtime.shutdown_background();
        });
        S3Server {
            address: listens.recv().expect("the server listens"),
            root: root.to_owned(),
            policy,
            ended: Some(ended),
            thread: Some(thread),
        }
    }

    /// Its endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of `prefix` in its bucket.
    pub fn url(&self, prefix: &str) -> String {
        url(&self.endpoint(), prefix)
    }

    /// From now on answers `operation` (as the API reference names it) with AccessDenied.
    pub fn deny(&self, operation: &str) {
        lock(&self.policy.denied).insert(operation.to_owned());
    }

    /// From now on answers a PutObject whose path has `part` in it with AccessDenied.
    pub fn deny_puts_to(&self, part: &str) {
        *lock(&self.policy.denied_below) = Some(part.to_owned());
    }

    /// From now on answers a PutObject of a key that is taken with AccessDenied, as a bucket policy may.
    pub fn deny_overwrites(&self) {
        *lock(&self.policy.no_overwrite) = Some(self.root.clone());
    }

    /// Allows all again.
    pub fn allow_all(&self) {
        lock(&self.policy.denied).clear();
        *lock(&self.policy.denied_below) = None;
        *lock(&self.policy.no_overwrite) = None;
    }

    /// How often it was asked for each operation since the last call.
    pub fn asked(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *lock(&self.policy.asked))
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The URL of `prefix` in the bucket of a server at `endpoint`.
pub fn url(endpoint: &str, prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}?endpoint={endpoint}&region={REGION}&path_style=true")
}

fn service(root: &Path, policy: Arc<Policy>) -> S3Service {
    let files = s3s_fs::FileSystem::new(root).expect("the directory exists");
    let mut builder = S3ServiceBuilder::new(files);
    let mut auth = match policy.accounts_only {
        true => SimpleAuth::new(),
        false => SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY),
    };
    for account in &policy.accounts {
        auth.register(
            account.access_key.clone(),
            account.secret_key.clone().into(),
        );
    }
    builder.set_auth(auth);
    builder.set_access(SharedPolicy(policy));
    builder.build()
}

/// The policy as the service owns it.
struct SharedPolicy(Arc<Policy>);

#[async_trait::async_trait]
impl S3Access for SharedPolicy {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        self.0.check(request).await
    }
}

type Locks = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// s3s-fs, and what it lacks.
struct Service {
    s3: S3Service,
    root: PathBuf,
    locks: Locks,
}

impl Service {
    async fn answer(
        &self,
        request: hyper::Request<hyper::body::Incoming>,
    ) -> Result<hyper::Response<s3s::Body>, s3s::HttpError> {
        let path = request.uri().path().to_owned();
        let changes = !matches!(*request.method(), hyper::Method::GET | hyper::Method::HEAD);
        let queue = changes.then(|| Arc::clone(lock(&self.locks).entry(path.clone()).or_default()));
        let _turn = match &queue {
            Some(queue) => Some(queue.lock().await),
            None => None,
        };
        // A key that is another's prefix is a directory here, which s3s-fs fails on; on S3 there is just no such object.
        let key = path.trim_matches('/');
        if key.contains('/') && self.root.join(key).is_dir() {
            return Ok(no_such_key(request.method()));
        }
        let query = request.uri().query();
        let is_get = request.method() == hyper::Method::GET
            && key.contains('/')
            && query.is_none_or(|query| query == "x-id=GetObject");
        let file = is_get.then(|| self.root.join(key));
        let response = hyper::service::Service::call(&self.s3, request).await?;
        match file {
            Some(file) if response.status().is_success() => {
                Ok(in_large_pieces(&file, response).await)
            }
            Some(_) | None => Ok(response),
        }
    }
}

/// A GetObject that was answered, with its body read in pieces of [`PIECE_BYTES`]: s3s-fs reads 4 KiB at a time, each on another
/// thread, which takes ten times as long. A store that measures its clients may not be what they wait for.
async fn in_large_pieces(
    path: &Path,
    response: hyper::Response<s3s::Body>,
) -> hyper::Response<s3s::Body> {
    let header = |name| response.headers().get(name)?.to_str().ok();
    let length = header(hyper::header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let start = match header(hyper::header::CONTENT_RANGE) {
        None => Some(0),
        Some(range) => range
            .strip_prefix("bytes ")
            .and_then(|range| range.split_once('-'))
            .and_then(|(start, _)| start.parse().ok()),
    };
    let (Some(start), Some(length)) = (start, length) else {
        return response;
    };
    // Opened now: whoever replaces the object does so with another file.
    let Ok(mut file) = tokio::fs::File::open(path).await else {
        return response;
    };
    if file.seek(SeekFrom::Start(start)).await.is_err() {
        return response;
    }
    let pieces = futures::stream::try_unfold((file, length), |(mut file, left)| async move {
        let mut piece = vec![0; PIECE_BYTES.min(left)];
        if piece.is_empty() {
            return Ok::<_, std::io::Error>(None);
        }
        file.read_exact(&mut piece).await?;
        let left = left - piece.len();
        Ok(Some((Frame::data(Bytes::from(piece)), (file, left))))
    });
    response.map(|_| s3s::Body::http_body_unsync(StreamBody::new(pieces)))
}

/// What S3 answers for an object that does not exist.
fn no_such_key(method: &hyper::Method) -> hyper::Response<s3s::Body> {
    let error =
        "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>";
    let (status, body) = match *method {
        hyper::Method::DELETE => (hyper::StatusCode::NO_CONTENT, s3s::Body::empty()),
        hyper::Method::HEAD => (hyper::StatusCode::NOT_FOUND, s3s::Body::empty()),
        _ => (
            hyper::StatusCode::NOT_FOUND,
            s3s::Body::from(error.to_owned()),
        ),
    };
    let mut response = hyper::Response::new(body);
    *response.status_mut() = status;
    response
}

async fn serve(listener: TcpListener, service: Arc<Service>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        // As servers of S3 do. Without it the end of each body waits until the client acknowledges what came before it, which the
        // client's kernel puts off for 40 ms.
        let _ = socket.set_nodelay(true);
        let service = Arc::clone(&service);
        let answer = hyper::service::service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { service.answer(request).await }
        });
        tokio::spawn(async move {
            // A client that goes away in the middle is no fault of the server.
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), answer)
                .await;
        });
    }
}
