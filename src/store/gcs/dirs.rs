//! objects.list with a delimiter: the names between slashes.

use super::bucket::{Bucket, not_this_api};
use super::failure::{About, Asked};
use crate::store::{Result, dirs};
use reqwest::Method;
use serde::Deserialize;

/// What such a list answers with.
const FIELDS: &str = "prefixes,nextPageToken";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    prefixes: Vec<String>,
    next_page_token: Option<String>,
}

impl Bucket {
    /// objects.list with the delimiter `/`: a request for each thousand names and keys right below `prefix`.
    pub(super) async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        let full = format!("{}{prefix}", self.prefix);
        let mut names = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = match self.list_dirs_once(&full, token.take()).await {
                Ok(page) => page,
                Err(failure) => return Err(self.failed("list", prefix, failure).await),
            };
            names.extend(
                page.prefixes
                    .iter()
                    .filter_map(|dir| dirs::valid(dir.strip_prefix(&full)?.strip_suffix('/')?)),
            );
            names.truncate(max);
            token = page.next_page_token.filter(|token| !token.is_empty());
            if token.is_none() || names.len() >= max {
                return Ok(names);
            }
        }
    }

    async fn list_dirs_once(&self, full: &str, token: Option<String>) -> Asked<Page> {
        let mut url = self.address(&[], None);
        url.query_pairs_mut()
            .append_pair("prefix", full)
            .append_pair("delimiter", "/")
            .append_pair("fields", FIELDS)
            .extend_pairs(token.map(|token| ("pageToken", token)));
        let request = self.request(Method::GET, url);
        let body = self.ask(request, About::Bucket).await?.text().await?;
        serde_json::from_slice(&body).map_err(|error| not_this_api(&error))
    }
}
