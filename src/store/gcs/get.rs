//! Reading objects.

use super::bucket::Bucket;
use super::connect::Answer;
use super::failure::About;
use crate::model::ObjectKey;
use crate::store::body::{Announced, Body};
use crate::store::{ErrorKind, OnPiece, Result};
use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, RequestBuilder};

/// The last byte that is ever asked for: servers take larger numbers for none.
const LAST_BYTE_MAX: u64 = i64::MAX as u64 - 1;

impl Bucket {
    /// objects.get of the bytes of `range`, which is not empty.
    pub(super) async fn get_range(
        &self,
        key: &ObjectKey,
        range: std::ops::Range<u64>,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        let expected = range.end - range.start;
        let request = self.media(key).header(
            RANGE,
            format!(
                "bytes={}-{}",
                range.start,
                (range.end - 1).min(LAST_BYTE_MAX)
            ),
        );
        let answer = match self.ask(request, About::Object).await {
            Ok(answer) => answer,
            Err(failure) => return Err(self.failed("get", key, failure).await),
        };
        let begins = format!("bytes {}-", range.start);
        let asked_for = match answer.headers().get(CONTENT_RANGE) {
            Some(range) => range.as_bytes().starts_with(begins.as_bytes()),
            // The whole object is right where it is what was asked for.
            None => range.start == 0 && answer.length() == Some(expected),
        };
        match answer.length() {
            Some(length) if asked_for && length < expected => {
                Err(self.error(ErrorKind::Truncated, "get", key))
            }
            Some(length) if asked_for && length == expected => {
                self.read_body("get", key, answer, expected, on_piece).await
            }
            _ => Err(self
                .error(ErrorKind::Unsupported, "get", key)
                .because("the server does not answer with the range that was asked for")),
        }
    }

    /// objects.get of all bytes.
    pub(super) async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        let answer = match self.ask(self.media(key), About::Object).await {
            Ok(answer) => answer,
            Err(failure) => return Err(self.failed("get_all", key, failure).await),
        };
        match answer.length() {
            Some(length) if length <= max_bytes => {
                let mut body = Body::of(length);
                let mut gather = |piece: Bytes| body.push(&piece);
                self.read_body("get_all", key, answer, length, &mut gather)
                    .await?;
                Ok(body.whole())
            }
            Some(_) => Err(self.error(ErrorKind::TooLarge, "get_all", key)),
            None => Err(self
                .error(ErrorKind::Unsupported, "get_all", key)
                .because("the server does not say how long the object is")),
        }
    }

    fn media(&self, key: &ObjectKey) -> RequestBuilder {
        let mut url = self.address(&[], Some(&self.full(key)));
        url.query_pairs_mut().append_pair("alt", "media");
        self.request(Method::GET, url)
    }

    /// A body of exactly `length` bytes.
    async fn read_body(
        &self,
        verb: &'static str,
        key: &ObjectKey,
        mut answer: Answer,
        length: u64,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        let cut_off = |why: String| self.error(ErrorKind::Transient, verb, key).because(why);
        let mut announced = Announced::of(length);
        loop {
            let piece = match answer.piece().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(failure) => return Err(self.failed(verb, key, failure).await),
            };
            announced.count(&piece).map_err(cut_off)?;
            on_piece(piece);
        }
        announced.end().map_err(cut_off)
    }
}
