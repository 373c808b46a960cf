//! ListObjectsV2 with a delimiter: the names between slashes.

use super::bucket::Bucket;
use crate::store::{Result, dirs};

impl Bucket {
    /// ListObjectsV2 with the delimiter `/`: a request for each thousand names and keys right below `prefix`.
    pub(super) async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        let full = format!("{}{prefix}", self.prefix);
        let mut names = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .listing(prefix)
                .await?
                .delimiter("/")
                .set_continuation_token(token.take())
                .send()
                .await
                .map_err(self.failed("list", prefix))?;
            let more = page.is_truncated.unwrap_or(false);
            names.extend(
                page.common_prefixes
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|dir| {
                        let dir = dir.prefix?;
                        dirs::valid(dir.strip_prefix(&full)?.strip_suffix('/')?)
                    }),
            );
            names.truncate(max);
            token = page.next_continuation_token.filter(|_| more);
            if token.is_none() || names.len() >= max {
                return Ok(names);
            }
        }
    }
}
