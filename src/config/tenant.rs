//! What the configuration says of a tenant: somebody whose streams have a place, credentials, keys and a share of their own.

use super::section::Section;
use super::stream::{self, StreamConfig};
use super::template::{self, Template};
use std::path::PathBuf;

/// The largest share of a tenant: what is a hundred times another's is wanted in full.
const SHARE_MAX: u32 = 100;

/// One tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantConfig {
    /// Its name, a part of paths.
    pub name: String,
    /// Where its streams go, unless they say otherwise.
    pub to: Option<Template>,
    /// Below it each of its streams keeps its state, in a directory named after its cluster.
    pub state_dir: Option<PathBuf>,
    /// How much of what is scarce it gets, beside the others.
    pub share: u32,
    /// What holds for its streams, unless they say otherwise.
    pub defaults: StreamConfig,
}

pub(super) fn read(section: &Section<'_>, defaults: &StreamConfig) -> TenantConfig {
    let mut defaults = defaults.clone();
    section.required("name", "acme");
    let name = section.parse("name", template::part).unwrap_or_default();
    defaults.tenant = Some(name.clone());
    defaults.region = section.parse("region", template::part);
    defaults.profile = section.text("profile");
    if defaults.profile.as_deref() == Some("") {
        section.mistake("profile", "is empty; leave it out, or name one");
    }
    defaults.credentials_file = absolute(section, "credentials_file");
    stream::read_common(section, &mut defaults);
    let share = section.integer("share", 1..=i64::from(SHARE_MAX));
    TenantConfig {
        name,
        to: section.parse("to", str::parse::<Template>),
        state_dir: absolute(section, "state_dir"),
        share: share.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        defaults,
    }
}

/// A path that must not depend on where the agent was started.
pub(super) fn absolute(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    let path = PathBuf::from(section.text(key)?);
    if !path.is_absolute() {
        section.mistake(
            key,
            "is relative; an agent has no directory of its own, write all of the path",
        );
    }
    Some(path)
}
