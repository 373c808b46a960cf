//! Everything a mount can be told: one table of options, for `--flags`, for `-o` and for configuration files.
//!
//! To add an option, add a field to [`MountSettings`] and a row to [`OPTIONS`]. The flag, the name in `-o` and in a configuration
//! file, both help texts and what is refused follow from the row. `docs/MOUNT.md` has a copy of the table; a test tells when it
//! differs.

use crate::cache::disk::DiskLimits;
use crate::cli::cache;
use crate::config;
use crate::model::StoreUrl;
use crate::segment::Recipients;
use crate::telemetry::LogFormat;
use std::path::PathBuf;
use std::time::Duration;

/// What one mount is told, with defaults for what it is not told.
#[derive(Clone, Debug)]
pub struct MountSettings {
    /// Files with private keys.
    pub identity: Vec<PathBuf>,
    /// Stores with copies of what is mounted.
    pub replicas: Vec<StoreUrl>,
    /// Where the index of the stream is kept, and what was fetched, if not at their usual places.
    pub cache_dir: Option<PathBuf>,
    /// How much of what was fetched is kept on disk.
    pub disk: DiskLimits,
    /// Between looks for new segments.
    pub refresh: Duration,
    /// How long a read may take.
    pub read_timeout: Duration,
    /// Bytes of memory for what is read; half of it is for decompressed data that is kept.
    pub memory_bytes: u64,
    /// The server's files, whose end is shown too.
    pub local: Option<PathBuf>,
    /// Whether they are archived as well.
    pub archive: bool,
    /// Public keys to encrypt to what is archived.
    pub recipients: Vec<String>,
    /// Option file with the login to the server, for the archiver.
    pub defaults_file: Option<PathBuf>,
    /// Where the archiver keeps its state, if not at its usual place.
    pub state_dir: Option<PathBuf>,
    /// Whether other users may come in, as far as owner and mode allow.
    pub allow_other: bool,
    /// Owner of all files; who mounts, if `None`.
    pub uid: Option<u32>,
    /// Group of all files; that of who mounts, if `None`.
    pub gid: Option<u32>,
    /// Permissions of all files.
    pub mode: u16,
    /// Whether no file may be executed, whatever `mode` says.
    pub noexec: bool,
    /// Variables for the mount's environment: credentials, above all.
    pub env_file: Option<PathBuf>,
    /// Where log lines are appended.
    pub log_file: Option<PathBuf>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// How much is logged, from 0 to 3.
    pub verbose: u8,
}

impl Default for MountSettings {
    fn default() -> MountSettings {
        MountSettings {
            identity: Vec::new(),
            replicas: Vec::new(),
            cache_dir: None,
            disk: DiskLimits::default(),
            refresh: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            memory_bytes: 128 << 20,
            local: None,
            archive: false,
            recipients: Vec::new(),
            defaults_file: None,
            state_dir: None,
            allow_other: false,
            uid: None,
            gid: None,
            mode: 0o440,
            noexec: false,
            env_file: None,
            log_file: None,
            log_format: LogFormat::default(),
            verbose: 0,
        }
    }
}

/// What an option is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it is there or not.
    Nothing,
    /// A value, and what help calls it.
    Value(&'static str),
    /// A path, and what help calls it. It is made absolute where it is read: the mount itself lives in `/`.
    Path(&'static str),
}

/// An option.
pub struct MountOption {
    /// Its name as a flag, such as `cache-dir`; elsewhere it is written with underscores.
    pub flag: &'static str,
    /// What it is given.
    pub takes: Takes,
    /// What holds without it, for people.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Every command has this flag, so that `binlogfs mount` does not define it again.
    pub global: bool,
    /// Puts a value where it belongs, or says what is wrong with it. An option that takes nothing is given `true`.
    pub set: fn(&mut MountSettings, &str) -> Result<(), String>,
}

/// The table.
pub const OPTIONS: &[MountOption] = &[
    MountOption {
        flag: "identity",
        takes: Takes::Path("FILE"),
        default: "none",
        help: "File with the private key that decrypts the segments; may be repeated",
        global: true,
        set: |s, v| {
            s.identity.push(v.into());
            Ok(())
        },
    },
    MountOption {
        flag: "replica",
        takes: Takes::Value("URL"),
        default: "none",
        help: "Another store with a copy: read where the first lacks an object, has a damaged one or does not answer; may be repeated",
        global: true,
        set: |s, v| {
            s.replicas
                .push(v.parse::<StoreUrl>().map_err(|error| error.to_string())?);
            Ok(())
        },
    },
    MountOption {
        flag: "cache-dir",
        takes: Takes::Path("DIR"),
        default: "for root, below /var/cache/binlogfs",
        help: "Where the index of the stream is kept, and what was fetched; can be deleted while nothing is mounted",
        global: true,
        set: |s, v| put(&mut s.cache_dir, Ok(Some(v.into()))),
    },
    MountOption {
        flag: "cache-size",
        takes: Takes::Value("SIZE"),
        default: "10GiB",
        help: "The most that is kept on disk of what was fetched, of all streams together; 0 for nothing",
        global: false,
        set: |s, v| put(&mut s.disk.size_bytes, cache::size(v)),
    },
    MountOption {
        flag: "cache-free",
        takes: Takes::Value("SIZE|PERCENT"),
        default: "10%",
        help: "What stays free of that disk, or is made free",
        global: false,
        set: |s, v| put(&mut s.disk.keep_free, cache::keep_free(v)),
    },
    MountOption {
        flag: "refresh",
        takes: Takes::Value("SECONDS"),
        default: "5",
        help: "Time between looks for new segments",
        global: false,
        set: |s, v| put(&mut s.refresh, seconds(v)),
    },
    MountOption {
        flag: "read-timeout",
        takes: Takes::Value("SECONDS"),
        default: "30",
        help: "Time after which a read that gets no answer fails",
        global: false,
        set: |s, v| put(&mut s.read_timeout, seconds(v)),
    },
    MountOption {
        flag: "memory",
        takes: Takes::Value("MIB"),
        default: "128",
        help: "Memory for what is read: half of it for decompressed data that is kept",
        global: false,
        set: |s, v| put(&mut s.memory_bytes, mebibytes(v)),
    },
    MountOption {
        flag: "local",
        takes: Takes::Path("DATADIR|BASENAME.index"),
        default: "the archive only",
        help: "On the database host, its data directory or binlog index file: what is not archived yet is shown too",
        global: false,
        set: |s, v| put(&mut s.local, Ok(Some(v.into()))),
    },
    MountOption {
        flag: "archive",
        takes: Takes::Nothing,
        default: "nothing is archived",
        help: "Archive the files of local as well, for as long as the mount lives",
        global: false,
        set: |s, v| put(&mut s.archive, flag(v)),
    },
    MountOption {
        flag: "recipient",
        takes: Takes::Value("age1..."),
        default: "unencrypted",
        help: "Public key to encrypt to what is archived; may be repeated",
        global: false,
        set: |s, v| {
            Recipients::parse([v]).map_err(|error| error.to_string())?;
            s.recipients.push(v.to_owned());
            Ok(())
        },
    },
    MountOption {
        flag: "defaults-file",
        takes: Takes::Path("FILE"),
        default: "the server is not asked",
        help: "Option file of MySQL's programs with the login to ask the server of its settings, for archive",
        global: false,
        set: |s, v| put(&mut s.defaults_file, Ok(Some(v.into()))),
    },
    MountOption {
        flag: "state-dir",
        takes: Takes::Path("DIR"),
        default: "for root, below /var/lib/binlogfs",
        help: "Where archive keeps what must survive a restart",
        global: true,
        set: |s, v| put(&mut s.state_dir, Ok(Some(v.into()))),
    },
    MountOption {
        flag: "allow-other",
        takes: Takes::Nothing,
        default: "only who mounts comes in",
        help: "Let other users in, as far as owner and mode allow",
        global: false,
        set: |s, v| put(&mut s.allow_other, flag(v)),
    },
    MountOption {
        flag: "uid",
        takes: Takes::Value("UID"),
        default: "who mounts",
        help: "Owner of all files",
        global: false,
        set: |s, v| put(&mut s.uid, id(v).map(Some)),
    },
    MountOption {
        flag: "gid",
        takes: Takes::Value("GID"),
        default: "that of who mounts",
        help: "Group of all files",
        global: false,
        set: |s, v| put(&mut s.gid, id(v).map(Some)),
    },
    MountOption {
        flag: "mode",
        takes: Takes::Value("MODE"),
        default: "0440",
        help: "Permissions of all files, octal; who can read a file can search the directories",
        global: false,
        set: |s, v| put(&mut s.mode, permissions(v)),
    },
    MountOption {
        flag: "noexec",
        takes: Takes::Nothing,
        default: "as mode says",
        help: "No file is executed as a program, whatever mode says",
        global: false,
        set: |s, v| put(&mut s.noexec, flag(v)),
    },
    MountOption {
        flag: "env-file",
        takes: Takes::Path("FILE"),
        default: "none",
        help: "File of NAME=value lines for the mount's environment, such as AWS_ACCESS_KEY_ID",
        global: false,
        set: |s, v| put(&mut s.env_file, Ok(Some(v.into()))),
    },
    MountOption {
        flag: "log-file",
        takes: Takes::Path("FILE"),
        default: "the system's log; with --foreground standard error",
        help: "File that log lines are appended to",
        global: false,
        set: |s, v| put(&mut s.log_file, Ok(Some(v.into()))),
    },
    MountOption {
        flag: "log-format",
        takes: Takes::Value("text|json"),
        default: "text",
        help: "How log lines look",
        global: true,
        set: |s, v| put(&mut s.log_format, log_format(v)),
    },
    MountOption {
        flag: "verbose",
        takes: Takes::Value("0-3"),
        default: "0",
        help: "What is logged beside errors: warnings, information, debugging, everything",
        global: true,
        set: |s, v| put(&mut s.verbose, verbosity(v)),
    },
];

fn put<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

/// `true` or `false`.
fn flag(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is neither true nor false"))
}

/// A number of seconds, or a duration with its unit; none of them nothing, or so long that no clock goes that far.
fn seconds(text: &str) -> Result<Duration, String> {
    let duration = match text.parse::<u64>() {
        Ok(seconds) => config::duration(&format!("{seconds}s"))?,
        Err(_) => config::duration(text)?,
    };
    match duration.is_zero() {
        true => Err("must be more than 0".to_owned()),
        false => Ok(duration),
    }
}

/// A number of MiB, or a size with its unit; at least 1 MiB and at most 64 GiB.
fn mebibytes(text: &str) -> Result<u64, String> {
    let bytes = match text.parse::<u64>() {
        Ok(mebibytes) => mebibytes.saturating_mul(1 << 20),
        Err(_) => config::size(text)?,
    };
    match (1 << 20..=64 << 30).contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!("{text:?} is not within 1 MiB to 64 GiB")),
    }
}

fn id(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no number of a user or group"))
}

fn permissions(text: &str) -> Result<u16, String> {
    match u16::from_str_radix(text, 8) {
        Ok(mode) if mode & !0o555 == 0 => Ok(mode),
        Ok(_) => Err("the mount is read-only: use r and x bits only, such as 0444".to_owned()),
        Err(_) => Err(format!("{text:?} is no octal number")),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither text nor json")),
    }
}

fn verbosity(text: &str) -> Result<u8, String> {
    let level = text.parse().ok().filter(|level| *level <= VERBOSE_MAX);
    level.ok_or_else(|| format!("{text:?} is not within 0 to {VERBOSE_MAX}"))
}

/// The most that there is to log.
pub const VERBOSE_MAX: u8 = 3;
