//! What the configuration says of a replica: where it is, and in whose name its store is asked.

use super::section::{Item, Section};
use super::tenant::absolute;
use crate::model::StoreUrl;
use crate::model::url::Location;
use std::path::PathBuf;

/// One replica of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaConfig {
    /// Where it is, with the profile in whose name S3 is asked.
    pub url: StoreUrl,
    /// Where the store's credentials are, instead of in the environment.
    pub credentials_file: Option<PathBuf>,
}

impl From<StoreUrl> for ReplicaConfig {
    fn from(url: StoreUrl) -> ReplicaConfig {
        ReplicaConfig {
            url,
            credentials_file: None,
        }
    }
}

/// The replicas that `section` names: URLs, or tables with more than that.
pub(super) fn read(section: &Section<'_>) -> Vec<ReplicaConfig> {
    let mut replicas = Vec::new();
    for item in section.items("replicas") {
        match item {
            Item::Text(text, at) => match text.parse::<StoreUrl>() {
                Ok(url) => replicas.push(url.into()),
                Err(error) => section.mistake_at("replicas", at, error),
            },
            Item::Table(table) => {
                replicas.extend(read_table(&table));
                table.end();
            }
        }
    }
    replicas
}

fn read_table(table: &Section<'_>) -> Option<ReplicaConfig> {
    let profile = table.text("profile");
    let credentials_file = absolute(table, "credentials_file");
    table.required("to", "s3://bucket/prefix")?;
    let mut url = table.parse("to", str::parse::<StoreUrl>)?;
    let is_s3 = matches!(url.location, Location::S3 { .. });
    match &profile {
        Some(profile) if profile.is_empty() => {
            table.mistake("profile", "is empty; leave it out, or name one");
        }
        Some(_) if !is_s3 => {
            table.mistake("profile", "means nothing for what is no s3:// URL");
        }
        Some(_) | None => url.s3.profile = url.s3.profile.take().or_else(|| profile.clone()),
    }
    if credentials_file.is_some() && matches!(url.location, Location::File { .. }) {
        table.mistake("credentials_file", "means nothing for a directory");
    }
    Some(ReplicaConfig {
        url,
        credentials_file,
    })
}
