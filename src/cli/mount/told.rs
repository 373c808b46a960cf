//! What a mount was told, option by option: as flags, in values of `-o`, and handed on to the process that mounts.

use super::options::{MountOption, MountSettings, OPTIONS, Takes, VERBOSE_MAX};
use crate::cli::Global;
use crate::telemetry::LogFormat;
use std::fmt;
use std::path::Path;

/// An option with a value that was found good.
#[derive(Clone)]
pub struct Told {
    option: &'static MountOption,
    value: String,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?}", self.option.name(), self.value)
    }
}

impl MountOption {
    /// Finds an option by its name.
    pub fn find(name: &str) -> Option<&'static MountOption> {
        let dashed = |b: u8| if b == b'_' { b'-' } else { b };
        OPTIONS
            .iter()
            .find(|option| option.flag.bytes().eq(name.bytes().map(dashed)))
    }

    /// Its name in `-o` and in a configuration file.
    pub fn name(&self) -> String {
        self.flag.replace('-', "_")
    }

    /// How it is written in `-o`, such as `cache_dir=DIR`.
    pub fn usage(&self) -> String {
        match self.takes {
            Takes::Nothing => self.name(),
            Takes::Value(what) | Takes::Path(what) => format!("{}={what}", self.name()),
        }
    }

    /// Takes a value as it was written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn tell(&'static self, value: Option<&str>) -> Result<Told, String> {
        let value = match (self.takes, value) {
            (Takes::Nothing, None) => "true".to_owned(),
            (_, None | Some("")) => return Err(format!("needs a value: {}", self.usage())),
            (Takes::Path(_), Some(path)) => absolute(Path::new(path))?,
            (_, Some(value)) => value.to_owned(),
        };
        (self.set)(&mut MountSettings::default(), &value)?;
        Ok(Told {
            option: self,
            value,
        })
    }

    fn argument(&'static self) -> clap::Arg {
        let help = format!("{} [default: {}]", self.help, self.default);
        let argument = clap::Arg::new(self.flag).long(self.flag).help(help);
        // For shells: what is read here has a type of its own, which says nothing of files.
        let hint = match self.takes {
            Takes::Path(_) => clap::ValueHint::AnyPath,
            Takes::Nothing | Takes::Value(_) => clap::ValueHint::Unknown,
        };
        match self.takes {
            Takes::Nothing => argument.action(clap::ArgAction::SetTrue),
            Takes::Value(what) | Takes::Path(what) => argument
                .value_name(what)
                .value_hint(hint)
                .action(clap::ArgAction::Append)
                .value_parser(move |text: &str| self.tell(Some(text))),
        }
    }
}

/// Not canonicalised: what is named may not be there yet, or be a dead mount.
fn absolute(path: &Path) -> Result<String, String> {
    let absolute = std::path::absolute(path)
        .map_err(|e| format!("the directory that it is relative to is not known: {e}"))?;
    let text = absolute.to_str().map(str::to_owned);
    text.ok_or_else(|| format!("{} is no UTF-8 text", absolute.display()))
}

impl MountSettings {
    /// What holds after all that was told: of an option told twice, the last value.
    pub fn of(told: &[Told]) -> MountSettings {
        let mut settings = MountSettings::default();
        for one in told {
            let set = (one.option.set)(&mut settings, &one.value);
            debug_assert!(set.is_ok(), "it was good when it was told");
        }
        settings
    }
}

/// The flags of the table, but for those that every command has.
#[derive(Clone, Debug, Default)]
pub struct Flags(pub Vec<Told>);

fn own() -> impl Iterator<Item = &'static MountOption> {
    OPTIONS.iter().filter(|option| !option.global)
}

impl clap::Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        own().fold(command, |command, option| command.arg(option.argument()))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Flags::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Flags, clap::Error> {
        let mut told = Vec::new();
        for option in own() {
            if option.takes != Takes::Nothing {
                let values = matches.get_many::<Told>(option.flag);
                told.extend(values.into_iter().flatten().cloned());
            } else if matches.get_flag(option.flag) {
                let value = "true".to_owned();
                told.push(Told { option, value });
            }
        }
        Ok(Flags(told))
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Tells the option `name` a value.
///
/// # Errors
/// What is wrong with it.
pub fn tell(name: &str, value: &str) -> Result<Told, String> {
    let option = MountOption::find(name).ok_or_else(|| unknown(name))?;
    option.tell(Some(value))
}

/// What the flags of every command tell of a mount.
///
/// # Errors
/// When a path is none that can be handed on.
pub fn of_global(global: &Global) -> Result<Vec<Told>, String> {
    let mut told = Vec::new();
    for path in &global.identity {
        told.push(tell("identity", &absolute(path)?)?);
    }
    for url in &global.replica {
        told.push(tell("replica", &url.to_string())?);
    }
    if let Some(dir) = &global.cache_dir {
        told.push(tell("cache_dir", &absolute(dir)?)?);
    }
    if let Some(dir) = &global.state_dir {
        told.push(tell("state_dir", &absolute(dir)?)?);
    }
    if global.verbose > 0 {
        let level = global.verbose.min(VERBOSE_MAX);
        told.push(tell("verbose", &level.to_string())?);
    }
    if global.log_format == LogFormat::Json {
        told.push(tell("log_format", "json")?);
    }
    Ok(told)
}

/// All that was told, as one value of `-o`.
pub fn write(told: &[Told]) -> String {
    let items: Vec<_> = told
        .iter()
        .map(|one| {
            let value = one.value.replace('\\', "\\\\").replace(',', "\\,");
            format!("{}={value}", one.option.name())
        })
        .collect();
    items.join(",")
}

/// Options that say nothing to this file system: mount(8) hands them on, or they are about what always holds here. It is read-only,
/// without devices, set-user-ID bits and symbolic links, and keeps no time of access.
const IGNORED: &[&str] = &[
    "_netdev",
    "async",
    "atime",
    "auto",
    "default_permissions",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "group",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "nofail",
    "nogroup",
    "noiversion",
    "nolazytime",
    "nomand",
    "noowner",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "nouser",
    "nousers",
    "owner",
    "relatime",
    "ro",
    "rw",
    "silent",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
];
/// Beginnings of such options.
const IGNORED_PREFIXES: &[&str] = &["comment=", "uhelper=", "x-", "X-"];

/// What an option of mount(8) says of `noexec` under another name: `user` and `users` imply it, `exec` takes it back, and of several
/// the last one holds (mount(8), "Filesystem-independent mount options").
fn noexec(name: &str, value: Option<&str>) -> Option<&'static str> {
    match (name, value) {
        ("exec", None) => Some("false"),
        ("user", _) | ("users", None) => Some("true"),
        _ => None,
    }
}

/// One item of a value of `-o`.
#[derive(Debug)]
pub enum Item {
    /// An option of ours.
    Told(Told),
    /// One that says nothing here.
    Ignored,
    /// `remount`, which cannot be.
    Remount,
    /// One that nobody knows, and what to say of it.
    Unknown(String),
}

/// Reads a value of `-o`: `name`, or `name=value`, separated by commas; `\,` and `\\` are a comma and a backslash.
///
/// # Errors
/// What is wrong with an option that is known.
pub fn read(text: &str) -> Result<Vec<Item>, String> {
    split(text)
        .iter()
        .filter(|item| !item.is_empty())
        .map(|item| read_item(item))
        .collect()
}

fn read_item(item: &str) -> Result<Item, String> {
    let (name, value) = match item.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (item, None),
    };
    if let Some(option) = MountOption::find(name) {
        let told = option.tell(value);
        return told
            .map(Item::Told)
            .map_err(|why| format!("option {}: {why}", option.name()));
    }
    if let Some(value) = noexec(name, value) {
        return tell("noexec", value).map(Item::Told);
    }
    let is_ignored =
        IGNORED.contains(&item) || IGNORED_PREFIXES.iter().any(|start| item.starts_with(start));
    Ok(match item {
        "remount" => Item::Remount,
        _ if is_ignored => Item::Ignored,
        _ => Item::Unknown(unknown(name)),
    })
}

/// What to say of a name that nobody knows.
pub fn unknown(name: &str) -> String {
    let nearest = OPTIONS
        .iter()
        .map(|option| option.name())
        .map(|known| (strsim::damerau_levenshtein(name, &known), known))
        .min()
        // A third of it may be mistyped.
        .filter(|(distance, known)| distance * 3 <= known.len().max(name.len()));
    let shown: String = name.chars().take(60).collect();
    match nearest {
        Some((_, known)) => format!("there is no option {shown:?}; did you mean {known}?"),
        None => format!("there is no option {shown:?}; 'mount.binlogfs --help' lists them"),
    }
}

fn split(text: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ',' => items.push(std::mem::take(&mut item)),
            '\\' => {
                let escaped = rest.next_if(|next| matches!(next, ',' | '\\'));
                item.push(escaped.unwrap_or('\\'));
            }
            c => item.push(c),
        }
    }
    items.push(item);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options as a table in Markdown: what `docs/MOUNT.md` has.
    fn markdown() -> String {
        let row = |option: &MountOption| {
            format!(
                "| `{}` | {} | {} |\n",
                option.usage().replace('|', "\\|"),
                option.help,
                option.default
            )
        };
        let rows: String = OPTIONS.iter().map(row).collect();
        format!("| option | what it does | without it |\n|---|---|---|\n{rows}")
    }

    fn told(text: &str) -> Vec<Told> {
        let items = read(text).expect("good options");
        items
            .into_iter()
            .filter_map(|item| match item {
                Item::Told(told) => Some(told),
                Item::Ignored => None,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn commas_and_backslashes_are_written_with_a_backslash() {
        let identity = |text: &str| MountSettings::of(&told(text)).identity;
        assert_eq!(
            identity(r"rw,identity=/a\,b\\c\d,refresh=7"),
            [Path::new(r"/a,b\c\d")]
        );
        assert_eq!(
            identity(r"identity=/a\\,identity=/b\"),
            [Path::new(r"/a\"), Path::new(r"/b\")]
        );
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let text = r"identity=/a\,b\\,allow_other,mode=0444,refresh=2m,read-timeout=7,memory=32MiB,log_format=json";
        let first = told(text);
        let again = told(&write(&first));
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
        let settings = MountSettings::of(&again);
        assert_eq!(settings.refresh.as_secs(), 120);
        assert_eq!(settings.read_timeout.as_secs(), 7);
        assert_eq!(settings.memory_bytes, 32 << 20);
        assert_eq!(settings.mode, 0o444);
        assert!(settings.allow_other);
    }

    #[test]
    fn what_mount_hands_on_says_nothing_and_what_nobody_knows_is_told_apart() {
        let passed = "rw,_netdev,nofail,owner,nosuid,nodev,nosymfollow,relatime,x-systemd.automount,comment=x,,";
        assert!(told(passed).is_empty());
        let items = read("remount,refersh=5,bogus").expect("well formed");
        assert!(matches!(items[0], Item::Remount));
        assert!(matches!(&items[1], Item::Unknown(why) if why.contains("did you mean refresh?")));
        assert!(matches!(&items[2], Item::Unknown(why) if why.contains("--help")));
    }

    #[test]
    fn of_all_that_says_whether_programs_are_executed_the_last_holds() {
        for (text, noexec) in [
            ("rw", false),
            ("noexec", true),
            ("noexec,exec", false),
            ("exec,noexec", true),
            ("noexec,defaults", true),
            ("user", true),
            ("users", true),
            // As mount(8) hands it on.
            ("noexec,nosuid,nodev,user=dba", true),
            ("user=dba,exec", false),
        ] {
            let first = told(text);
            assert_eq!(MountSettings::of(&first).noexec, noexec, "{text}");
            let again = told(&write(&first));
            assert_eq!(MountSettings::of(&again).noexec, noexec, "{text}");
        }
        assert!(read("noexec=perhaps").is_err());
    }

    #[test]
    fn a_wrong_value_is_refused_with_the_name_and_the_reason() {
        for (text, part) in [
            ("refresh=0", "more than 0"),
            ("refresh", "needs a value: refresh=SECONDS"),
            // Now and that much later is no moment: each read would panic.
            ("read_timeout=18446744073709551615", "longer than ten years"),
            ("refresh=315360001", "longer than ten years"),
            ("identity=", "needs a value"),
            ("mode=0640", "read-only"),
            ("mode=9", "octal"),
            ("uid=dba", "no number"),
            ("memory=0", "1 MiB"),
            ("memory=99999999", "64 GiB"),
            ("allow_other=maybe", "neither true nor false"),
            ("log_format=xml", "neither text nor json"),
            ("verbose=9", "0 to 3"),
        ] {
            let error = read(text).expect_err(text);
            let name = text.split('=').next().expect("a name");
            assert!(error.contains(part) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn the_documentation_has_the_table() {
        let text = include_str!("../../../docs/MOUNT.md");
        let table = markdown();
        assert!(text.contains(&table), "it should have:\n{table}");
    }

    #[test]
    fn relative_paths_mean_the_same_from_every_directory() {
        let settings = MountSettings::of(&told("cache_dir=x/y"));
        let expected = std::env::current_dir().expect("there").join("x/y");
        assert_eq!(settings.cache_dir, Some(expected));
    }
}
