//! The requests of a resumable upload ("Resumable uploads"), each once and without retries.

use super::bucket::{Bucket, NO_OBJECT, object_of, succeeded};
use super::connect::Answer;
use super::failure::{About, Asked, Failure};
use super::locks::protect;
use super::object::{Object, crc_text};
use crate::model::{Micros, ObjectKey};
use crate::store::{ErrorKind, Outcome, Result};
use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Method, Url};
use serde_json::json;

/// "Resume Incomplete".
const GO_ON: u16 = 308;
/// What a server answers when a session has been given up as it was asked to.
const GIVEN_UP: u16 = 499;

/// How far a session has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// The server holds so many bytes.
    Holds(u64),
    /// It has made the object.
    Made(Object),
}

/// Bytes of an object, and where in it they belong.
pub(super) struct Chunk {
    pub(super) at: u64,
    pub(super) bytes: Bytes,
    /// Of the last chunk: the object's size and CRC-32C.
    pub(super) ends: Option<(u64, u32)>,
}

impl Bucket {
    /// Begins a session for `key`, iff there is no such object: the session's address, which is a secret.
    pub(super) async fn begin_session(&self, key: &ObjectKey) -> Result<Url> {
        let mut url = self.address(&["upload"], None);
        url.query_pairs_mut()
            .append_pair("uploadType", "resumable")
            .append_pair("ifGenerationMatch", NO_OBJECT)
            .append_pair("name", &self.full(key));
        let request = self
            .service
            .client
            .request(Method::POST, url)
            .header(CONTENT_TYPE, "application/json")
            .body(protect(json!({}), &self.protection, Micros::now()).to_string());
        let begun = async {
            let answer = self.service.send(request).await?;
            let answer = succeeded(answer, About::Bucket).await?;
            let location = answer.headers().get(LOCATION);
            location
                .and_then(|text| Url::parse(text.to_str().ok()?).ok())
                .ok_or_else(|| {
                    let cause = "the server gave no address for the upload; is this Cloud Storage?";
                    Failure::new(ErrorKind::Unsupported, Outcome::NoEffect, cause)
                })
        };
        match begun.await {
            Ok(session) => Ok(session),
            Err(failure) => Err(self.failed("upload", key, failure).await),
        }
    }

    /// Sends a chunk. A server may keep less of it than was sent.
    pub(super) async fn put_chunk(
        &self,
        verb: &'static str,
        key: &ObjectKey,
        session: &Url,
        chunk: &Chunk,
    ) -> Result<Progress> {
        let total = match chunk.ends {
            Some((size, _)) => size.to_string(),
            None => "*".to_owned(),
        };
        let range = match chunk.bytes.len() as u64 {
            0 => format!("bytes */{total}"),
            len => format!("bytes {}-{}/{total}", chunk.at, chunk.at + len - 1),
        };
        let mut request = self
            .service
            .client
            .request(Method::PUT, session.clone())
            .header(CONTENT_LENGTH, chunk.bytes.len())
            .header(CONTENT_RANGE, range)
            .body(chunk.bytes.clone());
        if let Some((_, crc32c)) = chunk.ends {
            request = request.header("x-goog-hash", format!("crc32c={}", crc_text(crc32c)));
        }
        let progressed = async { progress(self.service.send_bare(request).await?).await };
        match progressed.await {
            Ok(progress) => Ok(progress),
            Err(failure) => Err(self.failed(verb, key, failure).await),
        }
    }

    /// Gives a session up, with what the server holds of it.
    pub(super) async fn end_session(&self, key: &ObjectKey, session: &Url) -> Result<()> {
        let request = self
            .service
            .client
            .request(Method::DELETE, session.clone())
            .header(CONTENT_LENGTH, 0);
        let ended = async {
            let answer = self.service.send_bare(request).await?;
            match answer.status().as_u16() {
                GIVEN_UP => Ok(()),
                _ => succeeded(answer, About::Session).await.map(drop),
            }
        };
        match ended.await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.failed("abort", key, failure).await),
        }
    }
}

/// What an answer to a chunk says.
async fn progress(answer: Answer) -> Asked<Progress> {
    if answer.status().as_u16() == GO_ON {
        let held = answer.headers().get(RANGE).map(|range| {
            let last = range.to_str().ok()?.strip_prefix("bytes=0-")?;
            last.parse::<u64>().ok()?.checked_add(1)
        });
        return match held {
            // Nothing yet.
            None => Ok(Progress::Holds(0)),
            Some(Some(held)) => Ok(Progress::Holds(held)),
            Some(None) => Err(Failure::new(
                ErrorKind::Unsupported,
                Outcome::NoEffect,
                "the server does not say how much it holds of the upload",
            )),
        };
    }
    let mut answer = succeeded(answer, About::Session).await?;
    object_of(&mut answer).await.map(Progress::Made)
}
