//! The requests of the JSON API that a store needs, each once and without retries. Those of resumable uploads are in `session`, those
//! that read objects in `get`.

use super::connect::{Answer, Service};
use super::failure::{About, Asked, Failure};
use super::locks::protect;
use super::object::{Object, crc_text, multipart};
use crate::model::{Micros, ObjectKey};
use crate::store::{Checksums, Error, ErrorKind, Listing, ObjectMeta, Outcome, Protection, Result};
use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;

/// The condition of every create ("Request preconditions"): no object has the key.
pub(super) const NO_OBJECT: &str = "0";
/// What a list answers with; without this, each name would come with a kilobyte of permissions.
const LIST_FIELDS: &str = "items(name,size),nextPageToken";
/// What an object's description is asked for.
const OBJECT_FIELDS: &str = "size,crc32c,generation";

/// A bucket, and the prefix in it below which a store's keys are.
pub(super) struct Bucket {
    pub(super) service: Service,
    bucket: String,
    /// Ends with a slash, or is empty.
    pub(super) prefix: String,
    name: String,
    pub(super) protection: Protection,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    items: Vec<Object>,
    next_page_token: Option<String>,
}

impl Bucket {
    pub(super) fn new(service: Service, bucket: String, prefix: &str, name: String) -> Bucket {
        let separator = if prefix.is_empty() { "" } else { "/" };
        Bucket {
            service,
            bucket,
            prefix: format!("{prefix}{separator}"),
            name,
            protection: Protection::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn error(
        &self,
        kind: ErrorKind,
        verb: &'static str,
        key: impl std::fmt::Display,
    ) -> Error {
        Error::new(kind, verb, key, self.name.clone())
    }

    /// A failed request as this store's error. Expired credentials are forgotten.
    pub(super) async fn failed(
        &self,
        verb: &'static str,
        key: impl std::fmt::Display,
        failure: Failure,
    ) -> Error {
        let mut cause = failure.cause;
        match failure.kind {
            ErrorKind::Expired => self.service.forget_credentials().await,
            ErrorKind::Denied => cause += &format!("; needed is {}", permission_for(verb)),
            _ => {}
        }
        let mut error = self.error(failure.kind, verb, key).because(cause);
        error.outcome = failure.outcome;
        error.not_before(failure.retry_after)
    }

    pub(super) fn full(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The address of the bucket's objects below `root`, or of the one with this full name.
    pub(super) fn address(&self, root: &[&str], object: Option<&str>) -> Url {
        let mut url = self.service.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(root);
            path.extend(["storage", "v1", "b", &self.bucket, "o"]);
            // A slash in it is escaped: a name is one segment.
            path.extend(object);
        }
        url
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.service.client.request(method, url)
    }

    /// Sends a request and takes an answer of success only.
    pub(super) async fn ask(&self, request: RequestBuilder, about: About) -> Asked<Answer> {
        let answer = self.service.send(request).await?;
        succeeded(answer, about).await
    }

    /// objects.insert, iff there is no such object; the server compares the CRC.
    pub(super) async fn insert(
        &self,
        verb: &'static str,
        key: &ObjectKey,
        body: Bytes,
        sums: &Checksums,
    ) -> Result<()> {
        let mut url = self.address(&["upload"], None);
        url.query_pairs_mut()
            .append_pair("uploadType", "multipart")
            .append_pair("ifGenerationMatch", NO_OBJECT)
            .append_pair("name", &self.full(key));
        let described = serde_json::json!({ "crc32c": crc_text(sums.crc32c) });
        let described = protect(described, &self.protection, Micros::now());
        let boundary = format!("binlogfs-{}", uuid::Uuid::new_v4().simple());
        let content_type = format!("multipart/related; boundary={boundary}");
        let request = self
            .request(Method::POST, url)
            .header(CONTENT_TYPE, content_type)
            .body(multipart(&boundary, &described, &body));
        let made = async {
            let mut answer = self.ask(request, About::Bucket).await?;
            object_of(&mut answer).await
        };
        match made.await {
            Ok(object) => self.check(verb, key, &object, sums).await,
            Err(failure) => Err(self.failed(verb, key, failure).await),
        }
    }

    /// Compares what the server says that it made with what it was given, and removes what differs.
    pub(super) async fn check(
        &self,
        verb: &'static str,
        key: &ObjectKey,
        made: &Object,
        expected: &Checksums,
    ) -> Result<()> {
        let same_sum = made.crc32c().is_none_or(|sum| sum == expected.crc32c);
        if made.size() == Some(expected.size) && same_sum {
            return Ok(());
        }
        let error = self
            .error(ErrorKind::BadDigest, verb, key)
            .because(format!("the server holds {made:?}, expected {expected:?}"));
        let removed = match &made.generation {
            Some(generation) => self.remove("delete", key, Some(generation)).await,
            None => return Err(error.outcome_unknown()),
        };
        match removed {
            Ok(()) => Err(error),
            // It is still there.
            Err(_) => Err(error.outcome_unknown()),
        }
    }

    /// objects.get of the description.
    pub(super) async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        let mut url = self.address(&[], Some(&self.full(key)));
        url.query_pairs_mut().append_pair("fields", OBJECT_FIELDS);
        let found = async {
            let mut answer = self
                .ask(self.request(Method::GET, url), About::Object)
                .await?;
            object_of(&mut answer).await
        };
        let object = match found.await {
            Ok(object) => object,
            Err(failure) => return Err(self.failed("head", key, failure).await),
        };
        let Some(size) = object.size() else {
            return Err(self
                .error(ErrorKind::Unsupported, "head", key)
                .because("the server does not say how long the object is"));
        };
        Ok(ObjectMeta {
            size,
            crc32c: object.crc32c(),
            crc64nvme: None,
        })
    }

    /// objects.list, one page that has a key of ours unless there is none.
    pub(super) async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        let after = after.map(|key| self.full(key));
        let mut token: Option<String> = None;
        loop {
            let page = match self.list_once(prefix, after.as_deref(), token.take()).await {
                Ok(page) => page,
                Err(failure) => return Err(self.failed("list", prefix, failure).await),
            };
            token = page.next_page_token.filter(|token| !token.is_empty());
            let objects: Vec<_> = page
                .items
                .into_iter()
                .filter(|object| object.name != after)
                .filter_map(|object| {
                    let size = object.size()?;
                    let key = object.name?.strip_prefix(&self.prefix)?.parse().ok()?;
                    Some((key, size))
                })
                .collect();
            // A page of foreign names only is no page; without a token to go on with, the listing is over.
            if !objects.is_empty() || token.is_none() {
                let more = token.is_some();
                return Ok(Listing { objects, more });
            }
        }
    }

    async fn list_once(
        &self,
        prefix: &str,
        after: Option<&str>,
        token: Option<String>,
    ) -> Asked<Page> {
        let mut url = self.address(&[], None);
        url.query_pairs_mut()
            .append_pair("prefix", &format!("{}{prefix}", self.prefix))
            .append_pair("fields", LIST_FIELDS)
            // Includes it.
            .extend_pairs(after.map(|after| ("startOffset", after)))
            .extend_pairs(token.map(|token| ("pageToken", token)));
        let mut answer = self
            .ask(self.request(Method::GET, url), About::Bucket)
            .await?;
        let body = answer.text().await?;
        serde_json::from_slice(&body).map_err(|error| not_this_api(&error))
    }

    /// objects.delete.
    pub(super) async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.remove("delete", key, None).await
    }

    /// objects.delete, of one generation only if one is named: then that is gone for good, in a bucket that keeps versions too.
    pub(super) async fn remove(
        &self,
        verb: &'static str,
        key: &ObjectKey,
        generation: Option<&str>,
    ) -> Result<()> {
        let mut url = self.address(&[], Some(&self.full(key)));
        if let Some(generation) = generation {
            url.query_pairs_mut()
                .append_pair("generation", generation)
                .append_pair("ifGenerationMatch", generation);
        }
        let request = self.request(Method::DELETE, url);
        match self.ask(request, About::Object).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(()),
            Err(failure) => Err(self.failed(verb, key, failure).await),
        }
    }
}

/// An answer of success, or why it is none.
pub(super) async fn succeeded(mut answer: Answer, about: About) -> Asked<Answer> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    // A body that does not come says nothing; the status does.
    let body = match status {
        StatusCode::NOT_MODIFIED => Vec::new(),
        _ => answer.text().await.unwrap_or_default(),
    };
    let headers = answer.headers();
    Err(Failure::of_answer(status.as_u16(), headers, &body, about))
}

/// The object that an answer of success describes. It may have been made even if the description is lost.
pub(super) async fn object_of(answer: &mut Answer) -> Asked<Object> {
    let body = answer.text().await?;
    serde_json::from_slice(&body).map_err(|error| not_this_api(&error))
}

pub(super) fn not_this_api(error: &serde_json::Error) -> Failure {
    let cause =
        format!("the answer is none of Cloud Storage's JSON API ({error}); check the endpoint");
    Failure::new(ErrorKind::Unsupported, Outcome::Unknown, &cause)
}

/// What the account must be allowed ("IAM permissions for JSON methods"), and a role that has it.
fn permission_for(verb: &str) -> &'static str {
    match verb {
        "create" | "upload" | "commit" | "abort" => {
            "storage.objects.create (roles/storage.objectCreator)"
        }
        "list" => "storage.objects.list (roles/storage.objectViewer)",
        "delete" | "remove" => "storage.objects.delete (roles/storage.objectUser)",
        "retain" => {
            "storage.objects.update and storage.objects.setRetention, and storage.objects.overrideUnlockedRetention where \
             governance becomes compliance (roles/storage.objectAdmin)"
        }
        // Without the right to list, the service does not tell who may not read from what does not exist.
        _ => {
            "storage.objects.get and storage.objects.list (roles/storage.objectViewer), without which what does not exist is \
             denied"
        }
    }
}
