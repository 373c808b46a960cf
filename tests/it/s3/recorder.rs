//! A server that speaks just enough S3 to be asked, and keeps what it was asked.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method, path and query.
    pub line: String,
    pub headers: BTreeMap<String, String>,
}

type Plan = dyn Fn(&Asked) -> Option<(u16, &'static str)> + Send + Sync;

/// A running server.
pub struct Recorder {
    pub endpoint: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Recorder {
    /// Starts one in the current runtime; `plan` may answer a request instead of it.
    pub async fn start(
        plan: impl Fn(&Asked) -> Option<(u16, &'static str)> + Send + Sync + 'static,
    ) -> Recorder {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let served = (Arc::clone(&asked), Arc::new(plan) as Arc<Plan>);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // As servers have it: the end of an answer does not wait for the client to acknowledge its beginning.
                let _ = socket.set_nodelay(true);
                let (asked, plan) = served.clone();
                let answer = hyper::service::service_fn(move |request| {
                    let (asked, plan) = (Arc::clone(&asked), Arc::clone(&plan));
                    async move { Ok::<_, Infallible>(answer(&asked, &*plan, request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), answer),
                );
            }
        });
        Recorder { endpoint, asked }
    }

    /// What it was asked, in order.
    pub fn requests(&self) -> Vec<Asked> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn answer(
    asked: &Mutex<Vec<Asked>>,
    plan: &Plan,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    // A client that stops in the middle has asked all the same.
    let _ = body.collect().await;
    let headers = head.headers.iter();
    let request = Asked {
        line: format!("{} {}", head.method, head.uri),
        headers: headers
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), value)
            })
            .collect(),
    };
    let usual = if request.line.contains("?uploads") && request.line.starts_with("POST") {
        "<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>"
    } else if request.line.contains("uploads") {
        "<ListMultipartUploadsResult><Upload><Key>p/k</Key><UploadId>one</UploadId></Upload></ListMultipartUploadsResult>"
    } else if request.line.contains("list-type") {
        "<ListBucketResult></ListBucketResult>"
    } else if request.line.starts_with("POST") {
        "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>"
    } else {
        ""
    };
    let (status, text) = plan(&request).unwrap_or((200, usual));
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(request);
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status.try_into().expect("a status");
    response
}
