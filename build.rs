//! Tells the program what it is built from and with; `src/cli/version.rs` prints it.
//!
//! Nothing here reads the clock, so that the same source gives the same bytes. Without git, or outside a repository of our own,
//! the commit is unknown and nothing fails.

use std::path::Path;
use std::process::Command;

/// What makes the program: a change of anything else leaves a build clean.
const SOURCES: [&str; 5] = ["src", "build.rs", "Cargo.toml", "Cargo.lock", "packaging"];
const SECONDS_PER_DAY: i64 = 86_400;

fn main() {
    for name in ["SOURCE_DATE_EPOCH", "BINLOGFS_COMMIT"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let release = variable("PROFILE").as_deref() == Some("release");
    let commit = variable("BINLOGFS_COMMIT").or_else(|| release.then(commit).flatten());
    let date = variable("SOURCE_DATE_EPOCH")
        .and_then(|seconds| seconds.parse().ok())
        .map(date_of)
        .or_else(|| release.then(commit_date).flatten());
    let profile = format!(
        "{}, opt-level {}",
        variable("PROFILE").unwrap_or_default(),
        variable("OPT_LEVEL").unwrap_or_default()
    );
    tell("COMMIT", commit);
    tell("DATE", date);
    tell("RUSTC", rustc());
    tell("TARGET", variable("TARGET"));
    tell("PROFILE", Some(profile));
}

/// An empty text stands for what is not known.
fn tell(name: &str, value: Option<String>) {
    println!(
        "cargo::rustc-env=BINLOGFS_BUILD_{name}={}",
        value.unwrap_or_default()
    );
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The first line that `command` prints, if it succeeds.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn rustc() -> Option<String> {
    first_line(Command::new(variable("RUSTC")?).arg("--version"))
}

/// Git in this directory, whatever repository a hook that runs us has in its environment.
fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    first_line(command.args(arguments))
}

/// The commit, with a `+` if the sources differ from it. Of release builds alone: this watches git and all sources, and a debug
/// build that followed commits would compile everything again after each.
fn commit() -> Option<String> {
    // Unpacked below somebody else's repository, its commits are not ours.
    git(&["rev-parse", "--show-cdup"]).filter(String::is_empty)?;
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
    for name in ["HEAD", "logs/HEAD"] {
        // A file that is not there would make every build a new one.
        let watched = git(&["rev-parse", "--git-path", name]).filter(|p| Path::new(p).exists());
        if let Some(path) = watched {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let hash = git(&["rev-parse", "--verify", "HEAD"])?;
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(SOURCES);
    let modified = !git(&status)?.is_empty();
    Some(format!("{hash}{}", if modified { "+" } else { "" }))
}

fn commit_date() -> Option<String> {
    git(&["rev-parse", "--show-cdup"]).filter(String::is_empty)?;
    let seconds = git(&["show", "--no-patch", "--format=%ct", "HEAD"])?;
    seconds.parse().ok().map(date_of)
}

/// The day of a number of seconds since 1970, in UTC: days counted in eras of 400 years that begin in March.
fn date_of(seconds: i64) -> String {
    let days = seconds.div_euclid(SECONDS_PER_DAY) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = match month {
        0..=9 => (month + 3, 0),
        _ => (month - 9, 1),
    };
    format!("{:04}-{month:02}-{of_month:02}", era * 400 + year + next)
}
