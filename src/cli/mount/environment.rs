//! The environment of a mount: what `env_file` has, and what mount(8) and systemd leave out.

use anyhow::{Context as _, Result, bail};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Largest file read.
const FILE_MAX_BYTES: u64 = 64 << 10;
/// Where programs are, if the environment does not say.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is missing: mounts of /etc/fstab have no HOME, without which the SDKs find no `~/.aws/credentials`.
pub fn missing() -> Vec<(String, String)> {
    let mut found = Vec::new();
    if std::env::var_os("PATH").is_none() {
        found.push(("PATH".to_owned(), PATH_DEFAULT.to_owned()));
    }
    if std::env::var_os("HOME").is_none() {
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let home = home_in(&accounts, rustix::process::getuid().as_raw());
        found.extend(home.map(|home| ("HOME".to_owned(), home)));
    }
    found
}

/// The home directory of an account in the text of /etc/passwd.
fn home_in(accounts: &str, uid: u32) -> Option<String> {
    accounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let is_ours = fields.get(2)?.parse() == Ok(uid);
        let home = fields.get(5).filter(|home| home.starts_with('/'))?;
        is_ours.then(|| (*home).to_owned())
    })
}

/// Reads a file of `NAME=value` lines, as systemd's EnvironmentFile= has them.
///
/// # Errors
/// When it cannot be read, others can read it, or a line is something else.
pub fn read_file(path: &Path) -> Result<Vec<(String, String)>> {
    let read = || {
        let meta = std::fs::metadata(path)?;
        if !meta.is_file() || meta.len() > FILE_MAX_BYTES {
            bail!("it is no regular file of at most {FILE_MAX_BYTES} bytes");
        }
        if meta.permissions().mode() & 0o007 != 0 {
            bail!(
                "everybody can read or write it: run 'chmod o= {}'",
                path.display()
            );
        }
        parse(&std::fs::read_to_string(path)?)
    };
    read().with_context(|| format!("cannot use the environment file {}", path.display()))
}

fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let name_and_value = line.split_once('=').filter(|(name, _)| is_name(name));
        // The line itself may be a secret: it is not repeated.
        let (name, value) =
            name_and_value.with_context(|| format!("line {number} is not NAME=value"))?;
        if value.contains('\0') {
            bail!("line {number} has a NUL byte");
        }
        variables.push((name.to_owned(), unquote(value.trim()).to_owned()));
    }
    Ok(variables)
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(plain) && text.starts_with(|c: char| !c.is_ascii_digit())
}

fn unquote(value: &str) -> &str {
    let inner = |quote| {
        value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
    };
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_and_values_and_an_error_repeats_no_secret() {
        let text = "# credentials\n\nAWS_ACCESS_KEY_ID=AKIA1\nAWS_SECRET_ACCESS_KEY=\"a b=c\"\n; x\nQ='1'\nEMPTY=\n";
        let variables = parse(text).expect("good");
        let expected = [
            ("AWS_ACCESS_KEY_ID", "AKIA1"),
            ("AWS_SECRET_ACCESS_KEY", "a b=c"),
            ("Q", "1"),
            ("EMPTY", ""),
        ];
        assert!(
            variables
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .eq(expected)
        );
        let error = parse("OK=1\nexport SECRET=topsecret\n").expect_err("wrong");
        assert_eq!(error.to_string(), "line 2 is not NAME=value");
    }

    #[test]
    fn a_file_that_everybody_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("env");
        std::fs::write(&file, "A=1\n").expect("writes");
        let allow = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&file, permissions).expect("allowed");
        };
        allow(0o644);
        let error = format!("{:#}", read_file(&file).expect_err("refused"));
        assert!(error.contains("chmod o="), "{error}");
        allow(0o640);
        assert_eq!(read_file(&file).expect("good").len(), 1);
    }

    #[test]
    fn a_home_is_found_by_its_number() {
        let accounts = "root:x:0:0:root:/root:/bin/bash\nbroken\ndba:x:1001:1001::/home/dba:/bin/sh\nno:x:7:7::relative:\n";
        assert_eq!(home_in(accounts, 1001).as_deref(), Some("/home/dba"));
        assert_eq!(home_in(accounts, 7), None);
        assert_eq!(home_in(accounts, 8), None);
    }
}
