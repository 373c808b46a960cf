//! The configuration file of an agent: `/etc/binlogfs.toml`.
//!
//! Every option is described in `packaging/binlogfs.toml`, which a test reads. All mistakes of a file are found at once, each
//! with its line and with what to write instead. Secrets are never in it: keys and passwords come from files that it names, or
//! from the environment.

pub mod change;
pub mod places;
mod replica;
mod section;
mod stream;
pub mod template;
mod tenant;
mod value;

pub use replica::ReplicaConfig;
pub use section::Mistake;
pub use stream::{LEVEL_MAX, MysqlAccess, PARALLEL_MAX, StreamConfig};
pub use tenant::TenantConfig;
pub use value::{duration, rate, size};

use section::{Reader, Section};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeTable;

/// Largest configuration file read: thousands of streams.
pub const CONFIG_MAX_BYTES: u64 = 16 << 20;
/// Where the status endpoint listens by default.
pub const STATUS_LISTEN: &str = "127.0.0.1:9418";

/// What the agent does for all its streams.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentConfig {
    /// Where metrics and health are served; nowhere if `None`.
    pub listen: Option<SocketAddr>,
    /// Niceness of the process, 0 to 19.
    pub nice: i32,
    /// Whether its disk accesses wait for everybody else's (I/O class idle).
    pub io_idle: bool,
    /// Whom alarms are posted to: a file with the URL, which is often a secret.
    pub webhook_file: Option<PathBuf>,
    /// What is run at each alarm: a program and its arguments.
    pub command: Vec<String>,
    /// After this long an alarm that is still raised is told of again.
    pub repeat: Duration,
    /// Frames compressed at a time, by all streams together; as many as one stream may have if `None`.
    pub threads: Option<u16>,
    /// Files in flight at a time, of all streams together; four, or as many as one stream may have, if `None`.
    pub transfers: Option<u16>,
    /// Bytes per second sent by all streams together.
    pub send_limit: Option<u64>,
    /// Bytes per second read by all streams together.
    pub read_limit: Option<u64>,
}

impl Default for AgentConfig {
    fn default() -> AgentConfig {
        AgentConfig {
            listen: STATUS_LISTEN.parse().ok(),
            nice: 10,
            io_idle: false,
            webhook_file: None,
            command: Vec::new(),
            repeat: Duration::from_secs(4 * 3600),
            threads: None,
            transfers: None,
            send_limit: None,
            read_limit: None,
        }
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What holds for the process.
    pub agent: AgentConfig,
    /// Whose streams they are.
    pub tenants: Vec<TenantConfig>,
    /// The streams it archives to.
    pub streams: Vec<StreamConfig>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.print())]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    fn print(&self) -> String {
        let lines: Vec<_> = self
            .0
            .iter()
            .map(|mistake| format!("line {}: {}", mistake.line, mistake.text))
            .collect();
        lines.join("\n")
    }
}

impl Config {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Config, Mistakes> {
        Config::read(text).0
    }

    /// The same, with the keys that each table can have: for the test of the example.
    pub fn read(text: &str) -> (Result<Config, Mistakes>, BTreeSet<&'static str>) {
        let reader = Reader::new(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            reader.mistake(at, format!("this is no TOML: {}", error.message()));
        }
        if !errors.is_empty() {
            return (Err(Mistakes(reader.mistakes())), BTreeSet::new());
        }
        let top = Section::new(&reader, "the file", 0, document.get_ref());
        let mut known = BTreeSet::new();
        let agent = match top.section("agent") {
            Some(section) => read_agent(section, &mut known),
            None => AgentConfig::default(),
        };
        let mut defaults = StreamConfig::default();
        if let Some(section) = top.section("archive") {
            stream::read_common(&section, &mut defaults);
            known.extend(section.asked());
            section.end();
        }
        let tenants = read_tenants(&top, &defaults, &mut known);
        let streams = read_streams(&top, &defaults, &tenants, &mut known);
        top.end();
        let mistakes = reader.mistakes();
        if !mistakes.is_empty() {
            return (Err(Mistakes(mistakes)), known);
        }
        let config = Config {
            agent,
            tenants,
            streams,
        };
        (Ok(config), known)
    }
}

/// Reads an address to listen on, which must be of this host.
///
/// # Errors
/// What is wrong with it.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(_) => Err(
            "is not on this host: it says what you back up and has no password; listen on 127.0.0.1 and let a proxy with one serve it"
                .to_owned(),
        ),
        Err(_) => Err(format!("{text:?} is no address; write \"{STATUS_LISTEN}\"")),
    }
}

fn read_tenants(
    top: &Section<'_>,
    defaults: &StreamConfig,
    known: &mut BTreeSet<&'static str>,
) -> Vec<TenantConfig> {
    let mut tenants: Vec<TenantConfig> = Vec::new();
    for section in top.sections("tenant") {
        let read = tenant::read(&section, defaults);
        if tenants.iter().any(|other| other.name == read.name) {
            section.mistake("name", "is that of another tenant, too; each needs its own");
        }
        known.extend(section.asked());
        section.end();
        tenants.push(read);
    }
    tenants
}

fn read_streams(
    top: &Section<'_>,
    defaults: &StreamConfig,
    tenants: &[TenantConfig],
    known: &mut BTreeSet<&'static str>,
) -> Vec<StreamConfig> {
    let sections = top.sections("stream");
    if sections.is_empty() {
        top.mistake_at_top("there is no stream; add one with [[stream]], name, source and to");
    }
    let mut streams: Vec<StreamConfig> = Vec::new();
    for section in &sections {
        let read = stream::read(section, defaults, tenants);
        if let Some(twin) = streams.iter().find_map(|other| read.twin(other)) {
            section.mistake(twin, "is that of another stream, too; each needs its own");
        }
        streams.push(read);
    }
    for (first, later) in places::meetings(&apart(&streams)) {
        // What one stream says twice was told of where it was read.
        if first.stream == later.stream {
            continue;
        }
        if let (Some(section), Some(stream), Some(other)) = (
            sections.get(later.stream),
            streams.get(later.stream),
            streams.get(first.stream),
        ) {
            let why = stream.collides_with(later.which, (other, first.which));
            section.mistake(later.key(), why);
        }
    }
    for section in sections {
        known.extend(section.asked());
        section.end();
    }
    streams
}

/// The places that each stream writes to; where only its server knows its own, as if all servers were different.
fn apart(streams: &[StreamConfig]) -> Vec<Vec<Option<Vec<String>>>> {
    let places = |(n, stream): (usize, &StreamConfig)| {
        let some_server = stream
            .needs_server()
            .then(|| uuid::Uuid::from_u128(n as u128));
        // One that leads nowhere is a mistake of its own.
        stream.places(stream.route_to(some_server).ok().as_ref())
    };
    streams.iter().enumerate().map(places).collect()
}

fn read_agent(section: Section<'_>, known: &mut BTreeSet<&'static str>) -> AgentConfig {
    let mut agent = AgentConfig::default();
    let listen = section.parse("listen", |text| match text {
        "off" => Ok(None),
        address => listen(address).map(Some),
    });
    agent.listen = listen.unwrap_or(agent.listen);
    if let Some(nice) = section.integer("nice", 0..=19) {
        agent.nice = i32::try_from(nice).unwrap_or(agent.nice);
    }
    agent.io_idle = section.flag("io_idle").unwrap_or(agent.io_idle);
    agent.webhook_file = section.text("webhook_file").map(PathBuf::from);
    agent.command = section
        .list("command", |text| Ok::<_, String>(text.to_owned()))
        .unwrap_or_default();
    agent.repeat = section
        .parse("repeat", value::duration)
        .unwrap_or(agent.repeat);
    let parallel = |key| {
        let number = section.integer(key, 1..=i64::from(PARALLEL_MAX))?;
        u16::try_from(number).ok()
    };
    agent.threads = parallel("threads");
    agent.transfers = parallel("transfers");
    agent.send_limit = section.parse("send_limit", value::rate);
    agent.read_limit = section.parse("read_limit", value::rate);
    known.extend(section.asked());
    section.end();
    agent
}

#[cfg(test)]
mod tests;
