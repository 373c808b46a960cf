//! What the configuration says of one stream, and of all of them in `[archive]`.

mod rules;

use super::places::{collisions, meetings};
use super::replica::{self, ReplicaConfig};
use super::section::Section;
use super::template::{self, Names, Template};
use super::tenant::{TenantConfig, absolute};
use super::value;
use crate::agent::alarm::Thresholds;
use crate::agent::replicas::ArchivedWhen;
use crate::agent::schedule::Policy;
use crate::model::url::Location;
use crate::model::{Seq, StoreUrl};
use crate::segment::Recipients;
use crate::source::server::ServerOptions;
use crate::store::Protection;
use rules::{duration, read_policy, read_protection, read_thresholds};
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// Compression beyond this gains a few percent for several times the work of the database host.
pub const LEVEL_MAX: i32 = 19;
/// Threads and transfers beyond this are a mistake.
pub const PARALLEL_MAX: u16 = 64;

/// How the server is asked, if it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MysqlAccess {
    /// `mysql://user@host/...`, without a password.
    pub dsn: Option<String>,
    /// An option file of MySQL's own programs.
    pub defaults_file: Option<PathBuf>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamConfig {
    /// Its name in logs, metrics and alarms.
    pub name: String,
    /// The server's data directory or binlog index file.
    pub source: PathBuf,
    /// Whose it is.
    pub tenant: Option<String>,
    /// The cluster that it is the history of.
    pub cluster: Option<String>,
    /// The region of its bucket.
    pub region: Option<String>,
    /// Where it is archived; `None` as long as only the server can tell.
    pub to: Option<StoreUrl>,
    /// Where it is archived, as the file says it.
    pub route: Option<Template>,
    /// Stores that get a copy.
    pub replicas: Vec<ReplicaConfig>,
    /// When a segment counts as archived.
    pub archived_when: ArchivedWhen,
    /// What the first store cannot give to the replicas of the records up to this one counts as archived all the same.
    pub give_up_through: Option<Seq>,
    /// The profile of the AWS configuration files, or of `credentials_file`, in whose name S3 is asked.
    pub profile: Option<String>,
    /// Where the store's credentials are, instead of in the environment.
    pub credentials_file: Option<PathBuf>,
    /// Where its state is kept.
    pub state_dir: Option<PathBuf>,
    /// How the server is asked.
    pub mysql: MysqlAccess,
    /// Public keys.
    pub recipients: Vec<String>,
    /// zstd level.
    pub level: i32,
    /// Compression threads.
    pub threads: u16,
    /// Files in flight.
    pub transfers: u16,
    /// Bytes per second sent to the store.
    pub send_limit: Option<u64>,
    /// Bytes per second read from the binlogs' disk.
    pub read_limit: Option<u64>,
    /// Percent of one processor for each compression thread.
    pub cpu_limit: Option<u8>,
    /// The store has no conditional create, and nobody else writes.
    pub single_writer: bool,
    /// Plaintext is meant.
    pub allow_unencrypted: bool,
    /// How what is archived is kept from being deleted.
    pub protection: Protection,
    /// What `binlog_expire_logs_seconds` is, where the server is not asked.
    pub expire_after: Option<Duration>,
    /// When to run.
    pub policy: Policy,
    /// When to raise an alarm.
    pub thresholds: Thresholds,
}

impl Default for StreamConfig {
    fn default() -> StreamConfig {
        StreamConfig {
            name: String::new(),
            source: PathBuf::new(),
            tenant: None,
            cluster: None,
            region: None,
            to: None,
            route: None,
            replicas: Vec::new(),
            archived_when: ArchivedWhen::default(),
            give_up_through: None,
            profile: None,
            credentials_file: None,
            state_dir: None,
            mysql: MysqlAccess::default(),
            recipients: Vec::new(),
            level: crate::sync::archive::LEVEL_DEFAULT,
            threads: 1,
            transfers: 2,
            send_limit: None,
            read_limit: None,
            cpu_limit: None,
            single_writer: false,
            allow_unencrypted: false,
            protection: Protection::default(),
            expire_after: None,
            policy: Policy::default(),
            thresholds: Thresholds::default(),
        }
    }
}

impl StreamConfig {
    /// The option that must be a stream's own and is also `other`'s.
    pub(super) fn twin(&self, other: &StreamConfig) -> Option<&'static str> {
        let same_dir = self.state_dir.is_some() && self.state_dir == other.state_dir;
        match () {
            () if self.name == other.name => Some("name"),
            () if same_dir => Some("state_dir"),
            () => None,
        }
    }

    /// Whether only its server can tell where it is archived.
    pub fn needs_server(&self) -> bool {
        self.route.as_ref().is_some_and(Template::needs_server)
    }

    /// The places that it writes to: its own, which is `to` if that is known, then those of its replicas.
    pub fn places(&self, to: Option<&StoreUrl>) -> Vec<Option<Vec<String>>> {
        let copies = self.replicas.iter().map(|replica| Some(&replica.url));
        let all = std::iter::once(to).chain(copies);
        all.map(|url| url.map(StoreUrl::place)).collect()
    }

    /// What is wrong with two streams that write to one place: which of its own places that is, and which of the other's.
    pub fn collides_with(&self, own: usize, (other, theirs): (&StreamConfig, usize)) -> String {
        let what = match theirs {
            0 => "the place",
            _ => "a replica",
        };
        format!(
            "{} and {what} of stream {:?}, {}, are the same or one inside of the other; each stream and each replica needs a place of its own",
            self.place_named(own),
            other.name,
            other.place_named(theirs)
        )
    }

    /// Whether all its places are apart: what is its own copy is none.
    ///
    /// # Errors
    /// The first two that are not.
    pub fn check_places(&self) -> Result<(), String> {
        let met = meetings(&[self.places(self.to.as_ref())]);
        match met.first() {
            None => Ok(()),
            Some((first, later)) => Err(format!(
                "{} and {} are the same or one inside of the other; each replica needs a place of its own",
                self.place_named(first.which),
                self.place_named(later.which)
            )),
        }
    }

    fn place_named(&self, which: usize) -> String {
        let replica = which.checked_sub(1).and_then(|n| self.replicas.get(n));
        match (replica, &self.to, &self.route) {
            (Some(replica), _, _) => replica.url.to_string(),
            (None, Some(url), _) => url.to_string(),
            (None, None, Some(route)) => route.to_string(),
            (None, None, None) => String::new(),
        }
    }

    /// Where it is archived if its server has this UUID.
    ///
    /// # Errors
    /// What is missing, or wrong.
    pub fn route_to(&self, server_uuid: Option<Uuid>) -> Result<StoreUrl, String> {
        let route = self.route.as_ref().ok_or("is missing")?;
        let mut url = route.fill(&Names {
            tenant: self.tenant.clone(),
            cluster: self.cluster.clone(),
            region: self.region.clone(),
            server_uuid,
        })?;
        match (&url.location, &self.profile, &self.credentials_file) {
            (Location::S3 { .. }, profile, _) => {
                let profile = url.s3.profile.take().or_else(|| profile.clone());
                url.s3.profile = profile;
                url.region = url.region.take().or_else(|| self.region.clone());
                Ok(url)
            }
            (_, Some(_), _) => {
                Err("is no s3:// URL, and profile means nothing elsewhere".to_owned())
            }
            (Location::File { .. }, _, Some(_)) => {
                Err("is a directory, and credentials_file means nothing for one".to_owned())
            }
            (Location::Gcs { .. } | Location::File { .. }, None, _) => Ok(url),
        }
    }
}

/// Longest name of a stream: it is a label of every metric.
const NAME_MAX_BYTES: usize = 100;

pub(super) fn read(
    section: &Section<'_>,
    defaults: &StreamConfig,
    tenants: &[TenantConfig],
) -> StreamConfig {
    let tenant = section.text("tenant").and_then(|name| {
        let found = tenants.iter().find(|tenant| tenant.name == name);
        if found.is_none() {
            section.mistake(
                "tenant",
                format!("there is no [[tenant]] with name = {name:?}"),
            );
        }
        found
    });
    let mut stream = tenant.map_or(defaults, |tenant| &tenant.defaults).clone();
    stream.cluster = section.parse("cluster", template::part);
    read_name(section, &mut stream);
    if let Some(source) = section.required("source", "/var/lib/mysql") {
        stream.source = PathBuf::from(source);
        if !stream.source.is_absolute() {
            section.mistake(
                "source",
                "is relative; an agent has no directory of its own, write all of the path",
            );
        }
    }
    read_place(section, &mut stream, tenant);
    let dsn = section.text("mysql");
    if let Some(Err(error)) = dsn.as_deref().map(ServerOptions::from_dsn) {
        section.mistake("mysql", error);
    }
    stream.mysql = MysqlAccess {
        dsn,
        defaults_file: section.text("mysql_defaults_file").map(PathBuf::from),
    };
    if stream.mysql.dsn.is_some() && stream.mysql.defaults_file.is_some() {
        section.mistake("mysql", "and mysql_defaults_file say the same; keep one");
    }
    read_common(section, &mut stream);
    let is_dir = |url: &StoreUrl| matches!(url.location, Location::File { .. });
    if !stream.protection.is_none() && stream.to.as_ref().is_some_and(is_dir) {
        section.mistake(
            "to",
            "is a directory, which locks nothing; leave object_lock and legal_hold out",
        );
    }
    if stream.recipients.is_empty() && !stream.allow_unencrypted {
        section.mistake(
            "name",
            "this stream would not be encrypted; add recipients = [\"age1...\"] ('binlogfs keygen' makes a key), or allow_unencrypted = true",
        );
    }
    stream
}

/// A stream that names tenant and cluster has a name without being given one.
fn read_name(section: &Section<'_>, stream: &mut StreamConfig) {
    stream.name = match (&stream.tenant, &stream.cluster) {
        (Some(tenant), Some(cluster)) => section
            .text("name")
            .unwrap_or_else(|| format!("{tenant}/{cluster}")),
        (Some(_), None) | (None, _) => section.required("name", "orders").unwrap_or_default(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if !stream.name.chars().all(plain) || stream.name.len() > NAME_MAX_BYTES {
        section.mistake(
            "name",
            "has other characters than letters, digits and . _ - /, or more than 100",
        );
    }
}

/// Where it is archived, and where its state is kept: what it says itself, or its tenant for it.
fn read_place(section: &Section<'_>, stream: &mut StreamConfig, tenant: Option<&TenantConfig>) {
    let of_tenant = tenant.and_then(|tenant| tenant.to.clone());
    let given = of_tenant.is_some() || section.required("to", "s3://bucket/prefix").is_some();
    if given {
        stream.route = section.parse("to", str::parse::<Template>).or(of_tenant);
    }
    let mut own = None;
    if stream.route.is_some() {
        // Which server it is does not matter here; whether a URL comes out of it does.
        let some_server = stream.needs_server().then(Uuid::nil);
        match stream.route_to(some_server) {
            Ok(url) => {
                own = Some(url.place());
                stream.to = Some(url).filter(|_| !stream.needs_server());
            }
            Err(error) => section.mistake("to", error),
        }
    }
    let below_tenant = || Some(tenant?.state_dir.as_ref()?.join(stream.cluster.as_ref()?));
    stream.state_dir = absolute(section, "state_dir").or_else(below_tenant);
    stream.replicas = replica::read(section);
    let record = section.integer("give_up_through", 1..=i64::MAX);
    let record = record.and_then(|record| u64::try_from(record).ok());
    stream.give_up_through = record.map(Seq);
    let mut places: Vec<_> = own.into_iter().collect();
    places.extend(stream.replicas.iter().map(|replica| replica.url.place()));
    if !collisions(&places).is_empty() {
        section.mistake(
            "replicas",
            "are in one place with another, or with to, or one inside of the other; each copy needs a place of its own",
        );
    }
}

/// The options that `[archive]` has too.
pub(super) fn read_common(section: &Section<'_>, stream: &mut StreamConfig) {
    let key = |text: &str| Recipients::parse([text]).map(|_| text.to_owned());
    if let Some(recipients) = section.list("recipients", key) {
        stream.recipients = recipients;
    }
    if let Some(level) = section.integer("level", 1..=i64::from(LEVEL_MAX)) {
        stream.level = i32::try_from(level).unwrap_or(stream.level);
    }
    stream.archived_when = section
        .parse("archived_when", str::parse)
        .unwrap_or(stream.archived_when);
    let parallel = |key| {
        let number = section.integer(key, 1..=i64::from(PARALLEL_MAX))?;
        u16::try_from(number).ok()
    };
    stream.threads = parallel("threads").unwrap_or(stream.threads);
    stream.transfers = parallel("transfers").unwrap_or(stream.transfers);
    stream.send_limit = section
        .parse("send_limit", value::rate)
        .or(stream.send_limit);
    stream.read_limit = section
        .parse("read_limit", value::rate)
        .or(stream.read_limit);
    let percent = section.integer("cpu_limit", 1..=100);
    stream.cpu_limit = percent
        .and_then(|n| u8::try_from(n).ok())
        .or(stream.cpu_limit);
    stream.single_writer = section
        .flag("single_writer")
        .unwrap_or(stream.single_writer);
    stream.allow_unencrypted = section
        .flag("allow_unencrypted")
        .unwrap_or(stream.allow_unencrypted);
    stream.expire_after = duration(section, "expire_after").or(stream.expire_after);
    read_protection(section, &mut stream.protection);
    read_policy(section, &mut stream.policy);
    read_thresholds(section, &mut stream.thresholds);
}
