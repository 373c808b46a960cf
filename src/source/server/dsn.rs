//! The server named in one line: `mysql://user@host:port/?ssl-mode=...`.

use super::options::{OptionsError, PASSWORD_VARIABLE, ServerOptions};
use std::path::PathBuf;

const SCHEME: &str = "mysql://";
const SHAPES: &str =
    "mysql://USER@HOST:PORT/?ssl-mode=...&ssl-ca=... or mysql://USER@localhost/?socket=/PATH";

/// Parses it. No message repeats the text: a password may be in it.
pub(super) fn parse(text: &str) -> Result<ServerOptions, OptionsError> {
    let bad = |reason: &str| OptionsError::new(format!("the DSN {reason}; write {SHAPES}"));
    let rest = text
        .strip_prefix(SCHEME)
        .ok_or_else(|| bad("does not begin with mysql://"))?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    // The last @: a name may hold one, and so may a password that must not end up as a host.
    let (user, address) = match place.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, place),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err(password_refused());
    }
    let mut options = ServerOptions {
        user: user
            .filter(|user| !user.is_empty())
            .map(|user| {
                decoded(user).ok_or_else(|| bad("has a user that is not percent-encoded UTF-8"))
            })
            .transpose()?,
        ..ServerOptions::default()
    };
    let address = match address.split_once('/') {
        Some((address, "")) => address,
        Some(_) => return Err(bad("names a database, and none is needed")),
        None => address,
    };
    (options.host, options.port) =
        host_and_port(address).ok_or_else(|| bad("has no valid HOST:PORT"))?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value =
            decoded(value).ok_or_else(|| bad("has a value that is not percent-encoded UTF-8"))?;
        match name.replace('_', "-").as_str() {
            "socket" => options.socket = Some(PathBuf::from(value)),
            "ssl-mode" => options.tls = Some(value.parse()?),
            "ssl-ca" => options.ca = Some(PathBuf::from(value)),
            "password" | "pass" | "pwd" => return Err(password_refused()),
            _ => {
                return Err(bad(
                    "has an option that is none of socket, ssl-mode, ssl-ca",
                ));
            }
        }
    }
    Ok(options)
}

fn password_refused() -> OptionsError {
    OptionsError::new(format!(
        "a password in a DSN is seen by every user of this host: leave it out, and put it in an option file \
         (--defaults-file, readable by you alone) or in {PASSWORD_VARIABLE}"
    ))
}

fn host_and_port(address: &str) -> Option<(Option<String>, Option<u16>)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (
                host,
                rest.strip_prefix(':').or(rest.is_empty().then_some("")),
            )
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, Some("")),
        },
    };
    let port = match port? {
        "" => None,
        port => Some(port.parse().ok().filter(|port| *port != 0)?),
    };
    let valid = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    valid.then(|| ((!host.is_empty()).then(|| host.to_owned()), port))
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| char::from(b?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::server::TlsMode;

    #[test]
    fn both_shapes_are_read() {
        let tcp = parse(
            "mysql://bin%6Cogfs@db.example:3307/?ssl-mode=verify_identity&ssl_ca=/etc/ca%20.pem",
        )
        .expect("valid");
        assert_eq!(
            tcp,
            ServerOptions {
                host: Some("db.example".into()),
                port: Some(3307),
                user: Some("binlogfs".into()),
                tls: Some(TlsMode::VerifyIdentity),
                ca: Some("/etc/ca .pem".into()),
                ..ServerOptions::default()
            }
        );
        let socket = parse("mysql://u@localhost?socket=/run/m.sock").expect("valid");
        assert_eq!(socket.socket, Some("/run/m.sock".into()));
        assert_eq!(socket.host.as_deref(), Some("localhost"));
        assert_eq!(parse("mysql://").expect("valid"), ServerOptions::default());
    }

    #[test]
    fn a_password_is_refused_without_being_repeated() {
        for dsn in [
            "mysql://u:hunter2@h/",
            "mysql://u:hun@ter2@h/",
            "mysql://u:hunter2@h:1/?socket=/x",
            "mysql://u@h/?password=hunter2",
        ] {
            let error = parse(dsn).expect_err("refused").to_string();
            assert!(
                error.contains("--defaults-file") && error.contains(PASSWORD_VARIABLE),
                "{error}"
            );
            assert!(
                !error.contains("hunter2") && !error.contains("ter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_text() {
        for dsn in [
            "http://hunter2",
            "mysql://u@h:0/",
            "mysql://u@h:hunter2/",
            "mysql://u@h/hunter2",
            "mysql://u@h/?hunter2=1",
            "mysql://u@[hunter2/",
            "mysql://u@h/?socket=%zz",
            "mysql://u@h h/",
        ] {
            let error = parse(dsn).expect_err(dsn).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
