//! MySQL's option files (Reference Manual 6.2.2.2): the groups `[client]` and `[binlogfs]`.

use super::options::{OptionsError, Password, ServerOptions, TlsMode};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Groups that are read. As in MySQL's programs, a later line wins, whichever of them it is in.
const GROUPS: [&str; 2] = ["client", "binlogfs"];
/// Option files are a page or two.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// As in MySQL: a file that includes itself must end.
const INCLUDE_DEPTH_MAX: u32 = 10;
/// Everybody may write.
const MODE_WRITE_OTHERS: u32 = 0o002;
/// Everybody may read.
const MODE_READ_OTHERS: u32 = 0o004;

/// Reads a file and what it includes.
pub(super) fn read(path: &Path) -> Result<ServerOptions, OptionsError> {
    let mut options = ServerOptions::default();
    read_into(path, &mut options, 0)?;
    Ok(options)
}

fn read_into(path: &Path, options: &mut ServerOptions, depth: u32) -> Result<(), OptionsError> {
    if depth > INCLUDE_DEPTH_MAX {
        return Err(OptionsError::new(format!(
            "{}: option files include each other more than {INCLUDE_DEPTH_MAX} deep",
            path.display()
        )));
    }
    let before = options.password.clone();
    let (text, mode) = contents(path)?;
    let mut in_group = false;
    for (n, line) in text.lines().enumerate() {
        let bad = |reason: String| {
            OptionsError::new(format!("{}, line {}: {reason}", path.display(), n + 1))
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(directive) = line.strip_prefix('!') {
            include(path, directive, options, depth).map_err(|reason| match reason {
                Some(error) => error,
                None => bad("is neither !include FILE nor !includedir DIRECTORY".to_owned()),
            })?;
            continue;
        }
        if let Some(group) = line.strip_prefix('[') {
            let (name, _) = group
                .split_once(']')
                .ok_or_else(|| bad("a group has no closing bracket".to_owned()))?;
            in_group = GROUPS.contains(&name.trim());
            continue;
        }
        if in_group {
            let (name, value) = option(line);
            // The value is not repeated: it may be the password.
            set(options, &name, value.as_deref())
                .map_err(|reason| bad(format!("option '{name}' {reason}")))?;
        }
    }
    if mode & MODE_READ_OTHERS != 0 && options.password != before {
        tracing::warn!(
            "{} holds a password and every user of this host can read it: chmod 600 it",
            path.display()
        );
    }
    Ok(())
}

fn contents(path: &Path) -> Result<(String, u32), OptionsError> {
    let fail = |reason: String| {
        OptionsError::new(format!(
            "cannot read the option file {}: {reason}",
            path.display()
        ))
    };
    let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
    let mode = file.metadata().map_err(|e| fail(e.to_string()))?.mode();
    if mode & MODE_WRITE_OTHERS != 0 {
        return Err(fail(
            "every user of this host may write it: chmod 600 it, and check what it says".to_owned(),
        ));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| fail(e.to_string()))?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(fail(format!("it is larger than {FILE_MAX_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| fail("it is not UTF-8".to_owned()))?;
    Ok((text, mode))
}

/// Follows `!include` and `!includedir`. `None` as the error: the directive is neither.
fn include(
    from: &Path,
    directive: &str,
    options: &mut ServerOptions,
    depth: u32,
) -> Result<(), Option<OptionsError>> {
    let (word, argument) = directive.split_once(char::is_whitespace).ok_or(None)?;
    let named = from
        .parent()
        .unwrap_or(Path::new("."))
        .join(argument.trim());
    match word {
        "include" => read_into(&named, options, depth + 1).map_err(Some),
        "includedir" => {
            let fail = |e: std::io::Error| {
                Some(OptionsError::new(format!(
                    "cannot list {}: {e}",
                    named.display()
                )))
            };
            let mut files: Vec<PathBuf> = Vec::new();
            for entry in std::fs::read_dir(&named).map_err(fail)? {
                let path = entry.map_err(fail)?.path();
                if path.extension().is_some_and(|e| e == "cnf") {
                    files.push(path);
                }
            }
            files.sort();
            files
                .iter()
                .try_for_each(|path| read_into(path, options, depth + 1).map_err(Some))
        }
        _ => Err(None),
    }
}

/// A line as name, with hyphens, and value.
fn option(line: &str) -> (String, Option<String>) {
    let line = without_comment(line);
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name, Some(unquoted(value.trim()))),
        None => (line, None),
    };
    let name = name.trim().replace('_', "-");
    let name = name.strip_prefix("loose-").unwrap_or(&name).to_owned();
    (name, value)
}

/// Up to a `#` that is in no quotes.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in line.char_indices() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            ('"' | '\'', Some(open)) if open == c && !escaped => quote = None,
            ('#', None) => return line.get(..at).unwrap_or(line).trim_end(),
            _ => {}
        }
        escaped = quote.is_some() && c == '\\' && !escaped;
    }
    line
}

/// Without the quotes around it, its escapes undone.
fn unquoted(value: &str) -> String {
    let inner = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let mut chars = inner.unwrap_or(value).chars();
    let mut text = String::with_capacity(value.len());
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('b') => text.push('\u{8}'),
            Some('t') => text.push('\t'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('s') => text.push(' '),
            Some(c @ ('\\' | '"' | '\'')) => text.push(c),
            Some(other) => text.extend(['\\', other]),
            None => text.push('\\'),
        }
    }
    text
}

/// Takes what names or protects the connection. What other clients' options say is theirs.
fn set(options: &mut ServerOptions, name: &str, value: Option<&str>) -> Result<(), String> {
    let needed = || value.ok_or_else(|| "has no value".to_owned());
    let off = |value: Option<&str>| {
        value.is_some_and(|value| {
            matches!(value.to_ascii_lowercase().as_str(), "0" | "off" | "false")
        })
    };
    match name {
        "user" => options.user = Some(needed()?.to_owned()),
        // Without a value MySQL's clients ask for it; here it comes from the environment then.
        "password" => options.password = value.map(Password::new),
        "host" => options.host = Some(needed()?.to_owned()).filter(|host| !host.is_empty()),
        "port" => {
            let port: u16 = needed()?
                .parse()
                .map_err(|_| "is no port number".to_owned())?;
            // 0 is "the default" in these files.
            options.port = Some(port).filter(|port| *port != 0);
        }
        "socket" => options.socket = Some(PathBuf::from(needed()?)),
        "ssl-ca" => options.ca = Some(PathBuf::from(needed()?)),
        "ssl-mode" => {
            options.tls = Some(needed()?.parse().map_err(|e: OptionsError| e.to_string())?);
        }
        // MariaDB's words.
        "ssl-verify-server-cert" if !off(value) => options.tls = Some(TlsMode::VerifyIdentity),
        "ssl" if off(value) => options.tls = Some(TlsMode::Disabled),
        "ssl" if options.tls != Some(TlsMode::VerifyIdentity) => {
            options.tls = Some(TlsMode::Required);
        }
        "skip-ssl" | "disable-ssl" => options.tls = Some(TlsMode::Disabled),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn parse(text: &str) -> Result<ServerOptions, OptionsError> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("my.cnf");
        std::fs::write(&path, text).expect("writes");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        read(&path)
    }

    #[test]
    fn the_groups_of_clients_and_ours_are_read_and_the_last_wins() {
        let options = parse(
            "[mysqld]\nuser=mysql\nport=1\n[client]\nuser = ann # a comment\nport=3307\n; another\n\
             [mysqldump]\nuser=dump\n[binlogfs]\nuser=binlogfs\nloose_ssl_mode = required\nssl-ca=/ca.pem\nhost=db1\nquick\n",
        )
        .expect("valid");
        assert_eq!(
            options,
            ServerOptions {
                host: Some("db1".into()),
                port: Some(3307),
                user: Some("binlogfs".into()),
                tls: Some(TlsMode::Required),
                ca: Some("/ca.pem".into()),
                ..ServerOptions::default()
            }
        );
    }

    #[test]
    fn quotes_escapes_and_comments_are_those_of_the_manual() {
        let password = |line: &str| {
            parse(&format!("[client]\n{line}\n"))
                .expect("valid")
                .password
        };
        for (line, want) in [
            ("password=plain", "plain"),
            ("password = 'a#b' # c", "a#b"),
            ("password=\"a b\"", "a b"),
            ("password=a#b", "a"),
            ("password=\"a\\\"#b\"", "a\"#b"),
            (r"password=a\sb\tc\\d\e", "a b\tc\\d\\e"),
            ("password='half", "'half"),
            ("password=a=b", "a=b"),
            ("password=", ""),
        ] {
            assert_eq!(password(line), Some(Password::new(want)), "{line}");
        }
        assert_eq!(password("password"), None);
    }

    #[test]
    fn included_files_are_read_in_their_place_and_a_circle_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("below")).expect("a directory");
            std::fs::write(&path, text).expect("writes");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
            path
        };
        let main = write(
            "my.cnf",
            "[client]\nuser=a\nport=1\n!includedir d\n[client]\nport=3\n",
        );
        write("d/x.cnf", "[client]\nuser=b\nport=2\n");
        write("d/x.txt", "[client]\nuser=c\n");
        let options = read(&main).expect("valid");
        assert_eq!(
            (options.user.as_deref(), options.port),
            (Some("b"), Some(3))
        );
        let circle = write("circle.cnf", "!include circle.cnf\n");
        assert!(
            read(&circle)
                .expect_err("ends")
                .to_string()
                .contains("include each other")
        );
    }

    #[test]
    fn what_is_wrong_is_named_without_its_value() {
        for (text, reason) in [
            ("[client\n", "line 1: a group has no closing bracket"),
            (
                "[client]\nport=hunter2\n",
                "line 2: option 'port' is no port number",
            ),
            ("[client]\nuser\n", "option 'user' has no value"),
            ("!hunter2\n", "line 1: is neither !include"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(
                error.contains(reason) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_anybody_may_write_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("my.cnf");
        std::fs::write(&path, "[client]\n").expect("writes");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
        assert!(
            read(&path)
                .expect_err("refused")
                .to_string()
                .contains("chmod 600")
        );
    }
}
