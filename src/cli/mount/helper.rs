//! `mount.binlogfs`: what mount(8) calls for file systems of type binlogfs. Its arguments and exit codes are mount(8)'s.

use super::failure::{Failure, Kind};
use super::options::OPTIONS;
use super::spec::Spec;
use super::told::{self, Item, Told};
use super::{Manner, Request};
use crate::model::counted::count;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// Help.
    Help,
    /// The version.
    Version,
    /// A mount.
    Mount(Box<Request>),
}

/// The names under which mount(8) looks for us: for type `binlogfs`, and for `fuse.binlogfs`.
const NAMES: [&str; 2] = ["mount.binlogfs", "mount.fuse.binlogfs"];

/// Whether a program called by this name is the helper.
pub fn is_helper(program: &OsStr) -> bool {
    let name = std::path::Path::new(program).file_name();
    name.is_some_and(|name| NAMES.iter().any(|known| name == *known))
}

/// What mount(8) tells by letters.
pub const FLAGS: [(&str, &str); 4] = [
    ("-s", "warn of unknown options instead of failing"),
    ("-f", "check everything and mount nothing"),
    ("-v", "say what was mounted"),
    (
        "-N",
        "process id or file of the mount namespace to mount in",
    ),
];

/// The text of `--help`.
pub fn help() -> String {
    let mut text = "Mounts a stream of binlogfs; called by mount(8) for the type binlogfs.\n\n\
                    Usage: mount.binlogfs URL|FILE DIR [-sfnv] [-o OPTIONS] [-t TYPE] [-N NAMESPACE]\n\n  \
                    URL   s3://bucket/prefix, gs://bucket/prefix or file:///dir\n  \
                    FILE  a configuration file with url = \"...\" and options\n"
        .to_owned();
    for (flag, help) in FLAGS {
        let _ = writeln!(text, "  {flag}    {help}");
    }
    text += "\nOptions, separated by commas (a comma in a value is written \\,):\n";
    let width = OPTIONS.iter().map(|o| o.usage().len()).max().unwrap_or(0);
    for option in OPTIONS {
        let _ = writeln!(
            text,
            "  {:width$}  {} [default: {}]",
            option.usage(),
            option.help,
            option.default
        );
    }
    text += "\nExit codes: 0 mounted, 1 usage or permission, 2 system, 4 bug, 8 interrupted, 32 mount failed.\n";
    text
}

/// What was read of the command line so far.
#[derive(Default)]
struct Reading {
    places: Vec<String>,
    options: Vec<String>,
    is_sloppy: bool,
    is_fake: bool,
    is_verbose: bool,
    namespace: Option<String>,
    asked: Option<Asked>,
}

/// Reads the arguments, without the program's name.
///
/// # Errors
/// What is wrong with them.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Failure> {
    let mut reading = Reading::default();
    let mut arguments = arguments.into_iter().map(|argument| {
        argument
            .into_string()
            .map_err(|raw| usage(format!("{} is no UTF-8 text", raw.display())))
    });
    let mut only_places = false;
    while let Some(argument) = arguments.next().transpose()? {
        match argument.as_str() {
            _ if only_places => reading.places.push(argument),
            "--" => only_places = true,
            "--help" => reading.asked = Some(Asked::Help),
            "--version" => reading.asked = Some(Asked::Version),
            short if short.len() > 1 && short.starts_with('-') => {
                reading.letters(&short[1..], &mut arguments)?;
            }
            _ => reading.places.push(argument),
        }
    }
    match reading.asked.take() {
        Some(asked) => Ok(asked),
        None => Ok(Asked::Mount(Box::new(reading.request()?))),
    }
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::text(
        Kind::Usage,
        format!("{}; see 'mount.binlogfs --help'", text.into()),
    )
}

impl Reading {
    /// Reads `sfo` of `-sfo OPTIONS`: the value of a letter is what follows it, or the next argument.
    fn letters(
        &mut self,
        letters: &str,
        more: &mut impl Iterator<Item = Result<String, Failure>>,
    ) -> Result<(), Failure> {
        for (at, letter) in letters.char_indices() {
            let rest = &letters[at + letter.len_utf8()..];
            match letter {
                's' => self.is_sloppy = true,
                'f' => self.is_fake = true,
                'v' => self.is_verbose = true,
                // No mtab is written; it is read-only with and without being told.
                'n' | 'r' | 'w' => {}
                'h' => self.asked = Some(Asked::Help),
                'V' => self.asked = Some(Asked::Version),
                'o' | 't' | 'N' => {
                    let value = match rest {
                        "" => more.next().transpose()?,
                        attached => Some(attached.to_owned()),
                    };
                    let value = value.ok_or_else(|| usage(format!("-{letter} needs a value")))?;
                    match letter {
                        'o' => self.options.push(value),
                        'N' => self.namespace = Some(value),
                        _ => check_type(&value)?,
                    }
                    return Ok(());
                }
                unknown => return Err(usage(format!("there is no -{unknown}"))),
            }
        }
        Ok(())
    }

    fn request(self) -> Result<Request, Failure> {
        let [spec, dir] = <[String; 2]>::try_from(self.places).map_err(|places| {
            let given = count(places.len() as u64, "place");
            usage(format!("{given} given, not URL and DIR"))
        })?;
        let spec = spec.parse::<Spec>().map_err(usage)?;
        let dir = std::path::absolute(&dir).map_err(|e| usage(format!("{dir:?}: {e}")))?;
        let mut told = told_by_environment()?;
        for options in &self.options {
            told.extend(take(options, self.is_sloppy)?);
        }
        Ok(Request {
            spec,
            dir,
            told,
            manner: match self.is_fake {
                true => Manner::Check,
                false => Manner::Detach,
            },
            namespace: self.namespace.map(namespace_file),
            says_mounted: self.is_verbose,
            json: false,
        })
    }
}

fn check_type(fs_type: &str) -> Result<(), Failure> {
    match fs_type {
        "binlogfs" | "fuse.binlogfs" => Ok(()),
        other => Err(usage(format!("type {other:?} is not binlogfs"))),
    }
}

/// A namespace as mount(8) has it: the id of a process in it, or a file that stands for it.
pub fn namespace_file(text: String) -> PathBuf {
    match text.parse::<u32>() {
        Ok(process) => format!("/proc/{process}/ns/mnt").into(),
        Err(_) => text.into(),
    }
}

/// The one variable that commands have an option for; mount(8) hands it on when root's shell has it.
fn told_by_environment() -> Result<Vec<Told>, Failure> {
    let Ok(files) = std::env::var(super::IDENTITY) else {
        return Ok(Vec::new());
    };
    let tell = |file: &str| told::tell("identity", file);
    files
        .split(',')
        .map(tell)
        .collect::<Result<_, _>>()
        .map_err(usage)
}

/// The options in one value of `-o`.
///
/// # Errors
/// [`Kind::Usage`]; [`Kind::Failed`] for `remount`, as mount(8) documents it.
pub fn take(options: &str, is_sloppy: bool) -> Result<Vec<Told>, Failure> {
    let mut told = Vec::new();
    for item in told::read(options).map_err(usage)? {
        match item {
            Item::Told(one) => told.push(one),
            Item::Ignored => {}
            Item::Remount => {
                return Err(Failure::text(
                    Kind::Failed,
                    "a binlogfs cannot be remounted; unmount it, and mount it with the new options",
                ));
            }
            Item::Unknown(why) if is_sloppy => eprintln!("binlogfs: warning: ignored: {why}"),
            Item::Unknown(why) => return Err(Failure::text(Kind::Usage, why)),
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::super::options::MountSettings;
    use super::*;

    fn request(arguments: &str) -> Result<Request, Failure> {
        match read(arguments.split(' ').map(OsString::from))? {
            Asked::Mount(request) => Ok(*request),
            other => panic!("{other:?}"),
        }
    }

    fn failed(arguments: &str) -> (Kind, String) {
        let failure = request(arguments).expect_err("refused");
        (failure.kind, failure.error.expect("said").to_string())
    }

    #[test]
    fn arguments_come_in_any_order_and_options_again_and_again() {
        for arguments in [
            "s3://b/p /mnt -o rw,refresh=7 -o allow_other -sfnv -t fuse.binlogfs -N 42",
            "-N42 -sn -orefresh=7,allow_other,_netdev -fvt binlogfs s3://b/p /mnt",
            "-o refresh=1 -f -v s3://b/p -o refresh=7 -N /proc/42/ns/mnt -o allow_other -- /mnt",
        ] {
            let request = request(arguments).expect("good");
            assert_eq!(request.spec.to_string(), "s3://b/p");
            assert_eq!(request.dir, PathBuf::from("/mnt"));
            assert_eq!(request.manner, Manner::Check);
            assert!(request.says_mounted);
            let namespace = request.namespace.expect("given");
            assert_eq!(namespace, PathBuf::from("/proc/42/ns/mnt"));
            let settings = MountSettings::of(&request.told);
            assert_eq!(settings.refresh.as_secs(), 7);
            assert!(settings.allow_other);
        }
        let plain = request("s3://b/p /mnt").expect("good");
        assert_eq!((plain.manner, plain.says_mounted), (Manner::Detach, false));
    }

    #[test]
    fn what_is_wrong_is_a_usage_error_and_remount_is_none() {
        for (arguments, part) in [
            ("s3://b/p", "1 place given"),
            ("s3://b/p /mnt /more", "3 places given"),
            ("orders /mnt", "neither a URL"),
            ("s3://b/p /mnt -o", "-o needs a value"),
            ("s3://b/p /mnt -x", "no -x"),
            ("s3://b/p /mnt -t nfs", "not binlogfs"),
            ("s3://b/p /mnt -o bogus", "no option"),
            ("s3://b/p /mnt -o mode=0777", "option mode"),
            ("s3://b/p /mnt -s -o mode=0777", "option mode"),
        ] {
            let (kind, text) = failed(arguments);
            assert_eq!(kind, Kind::Usage, "{arguments}");
            assert!(text.contains(part), "{text}");
        }
        let (kind, text) = failed("s3://b/p /mnt -o rw,remount");
        assert_eq!(kind, Kind::Failed);
        assert!(text.contains("unmount it"), "{text}");
    }

    #[test]
    fn unknown_options_are_only_warned_of_when_asked_to_be_sloppy() {
        request("s3://b/p /mnt -s -o bogus,refersh=3").expect("warned of");
    }

    #[test]
    fn the_helper_is_known_by_its_name() {
        for (name, is) in [
            ("/sbin/mount.binlogfs", true),
            ("mount.fuse.binlogfs", true),
            ("/usr/bin/binlogfs", false),
            ("", false),
        ] {
            assert_eq!(is_helper(OsStr::new(name)), is, "{name}");
        }
    }

    #[test]
    fn help_names_every_option() {
        let text = help();
        assert!(OPTIONS.iter().all(|option| text.contains(&option.usage())));
    }
}
