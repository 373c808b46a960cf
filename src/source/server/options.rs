//! Where the server is, and as whom to ask it.

use super::{defaults_file, dsn};
use std::fmt;
use std::path::{Path, PathBuf};

/// Names the user where neither the DSN nor the option file does.
pub const USER_VARIABLE: &str = "BINLOGFS_MYSQL_USER";
/// Holds the password where the option file does not.
pub const PASSWORD_VARIABLE: &str = "BINLOGFS_MYSQL_PASSWORD";
/// What MySQL's own clients read; the last resort.
const MYSQL_PASSWORD_VARIABLE: &str = "MYSQL_PWD";
/// Where packages put the socket, for `localhost` without a path.
const USUAL_SOCKETS: [&str; 4] = [
    "/run/mysqld/mysqld.sock",
    "/var/run/mysqld/mysqld.sock",
    "/var/lib/mysql/mysql.sock",
    "/tmp/mysql.sock",
];
/// MySQL's port.
const PORT_DEFAULT: u16 = 3306;

/// A password: it prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Password {
        Password(text.into())
    }

    /// The password, for the protocol alone.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a TCP connection is protected: MySQL's `ssl-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disabled,
    /// TLS if the server has it. The default on this host's own addresses.
    Preferred,
    /// TLS, whoever answers. The default to other hosts.
    Required,
    /// TLS, with a certificate of the CA and the host's name in it. VERIFY_CA is taken as this: the TLS library checks both
    /// or neither.
    VerifyIdentity,
}

impl std::str::FromStr for TlsMode {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<TlsMode, OptionsError> {
        match text.to_ascii_uppercase().replace('-', "_").as_str() {
            "DISABLED" => Ok(TlsMode::Disabled),
            "PREFERRED" => Ok(TlsMode::Preferred),
            "REQUIRED" => Ok(TlsMode::Required),
            "VERIFY_CA" | "VERIFY_IDENTITY" => Ok(TlsMode::VerifyIdentity),
            _ => Err(OptionsError::new(format!(
                "ssl-mode {text:?} is none of DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"
            ))),
        }
    }
}

/// Options that cannot be used, and what to do. The text holds no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OptionsError(String);

impl OptionsError {
    pub(super) fn new(text: impl Into<String>) -> OptionsError {
        OptionsError(text.into())
    }
}

/// Where the server is, and as whom to ask it. What is `None` was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerOptions {
    /// Path of the socket; it comes before host and port.
    pub socket: Option<PathBuf>,
    /// Host name or address.
    pub host: Option<String>,
    /// TCP port.
    pub port: Option<u16>,
    /// The account.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Password>,
    /// How TCP is protected.
    pub tls: Option<TlsMode>,
    /// The CA's certificates, in PEM.
    pub ca: Option<PathBuf>,
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Socket(PathBuf),
    Tcp { host: String, port: u16 },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "{}", path.display()),
            Place::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl ServerOptions {
    /// Reads `mysql://user@host:port/?ssl-mode=...&ssl-ca=...` or `mysql://user@localhost/?socket=/path`.
    ///
    /// # Errors
    /// When it is something else, and when it holds a password: a command line is seen by every user of the host.
    pub fn from_dsn(text: &str) -> Result<ServerOptions, OptionsError> {
        dsn::parse(text)
    }

    /// Reads the groups `[client]` and `[binlogfs]` of a MySQL option file.
    ///
    /// # Errors
    /// When it cannot be read or understood, or anybody may write it.
    pub fn from_defaults_file(path: &Path) -> Result<ServerOptions, OptionsError> {
        defaults_file::read(path)
    }

    /// What a command line says: a DSN, an option file for what the DSN leaves open, the environment for the rest.
    ///
    /// # Errors
    /// As [`ServerOptions::from_dsn`] and [`ServerOptions::from_defaults_file`].
    pub fn from_command_line(
        dsn: Option<&str>,
        defaults_file: Option<&Path>,
    ) -> Result<ServerOptions, OptionsError> {
        let mut options = dsn
            .map(ServerOptions::from_dsn)
            .transpose()?
            .unwrap_or_default();
        if let Some(path) = defaults_file {
            options = options.or(ServerOptions::from_defaults_file(path)?);
        }
        Ok(options.with_environment(|name| std::env::var(name).ok()))
    }

    /// `self`, with what it leaves open taken from `other`. A place (socket, host, port) is taken as a whole: a port
    /// belongs to its host.
    #[must_use]
    pub fn or(self, other: ServerOptions) -> ServerOptions {
        let own_place = self.socket.is_some() || self.host.is_some();
        let (socket, host, port) = if own_place {
            (self.socket, self.host, self.port)
        } else {
            (other.socket, other.host, self.port.or(other.port))
        };
        ServerOptions {
            socket,
            host,
            port,
            user: self.user.or(other.user),
            password: self.password.or(other.password),
            tls: self.tls.or(other.tls),
            ca: self.ca.or(other.ca),
        }
    }

    /// `self`, with user and password from the environment where nothing else said them.
    #[must_use]
    pub fn with_environment(mut self, variable: impl Fn(&str) -> Option<String>) -> ServerOptions {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        self.user = self.user.or_else(|| set(USER_VARIABLE));
        let password = || set(PASSWORD_VARIABLE).or_else(|| set(MYSQL_PASSWORD_VARIABLE));
        self.password = self.password.or_else(|| password().map(Password::new));
        self
    }

    /// The account's name.
    pub(super) fn account(&self) -> Result<&str, OptionsError> {
        self.user.as_deref().ok_or_else(|| {
            OptionsError::new(format!(
                "no MySQL user was named: give mysql://USER@..., 'user' in the option file, or {USER_VARIABLE}"
            ))
        })
    }

    /// Where to connect. As MySQL's clients do, `localhost` is its socket, unless a port is named.
    pub(super) fn place(&self) -> Place {
        if let Some(socket) = &self.socket {
            return Place::Socket(socket.clone());
        }
        let host = self.host.as_deref().unwrap_or("localhost");
        if host == "localhost" && self.port.is_none() {
            let usual = USUAL_SOCKETS
                .iter()
                .map(Path::new)
                .find(|path| path.exists());
            if let Some(path) = usual {
                return Place::Socket(path.to_owned());
            }
        }
        Place::Tcp {
            host: host.to_owned(),
            port: self.port.unwrap_or(PORT_DEFAULT),
        }
    }

    /// How a connection to `host` is protected.
    pub(super) fn tls_for(&self, host: &str) -> TlsMode {
        if let Some(mode) = self.tls {
            return mode;
        }
        if self.ca.is_some() {
            return TlsMode::VerifyIdentity;
        }
        let own = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        if own {
            TlsMode::Preferred
        } else {
            TlsMode::Required
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_ever_printed() {
        let options = ServerOptions {
            password: Some(Password::new("s3cret")),
            ..ServerOptions::default()
        };
        assert!(!format!("{options:?} {options:#?}").contains("s3cret"));
    }

    #[test]
    fn what_is_named_first_wins_and_the_environment_comes_last() {
        let dsn = ServerOptions::from_dsn("mysql://ann@db1:3307/").expect("valid");
        let file = ServerOptions {
            host: Some("db2".into()),
            user: Some("bob".into()),
            password: Some(Password::new("file")),
            ..ServerOptions::default()
        };
        let environment = |name: &str| match name {
            USER_VARIABLE => Some("eve".to_owned()),
            PASSWORD_VARIABLE => Some("environment".to_owned()),
            _ => None,
        };
        let both = dsn.clone().or(file).with_environment(environment);
        assert_eq!(both.host.as_deref(), Some("db1"));
        assert_eq!(both.user.as_deref(), Some("ann"));
        assert_eq!(both.password, Some(Password::new("file")));
        assert_eq!(
            dsn.clone().with_environment(environment).password,
            Some(Password::new("environment"))
        );
        let last = dsn
            .with_environment(|name| (name == MYSQL_PASSWORD_VARIABLE).then(|| "pwd".to_owned()));
        assert_eq!(last.password, Some(Password::new("pwd")));
    }

    #[test]
    fn another_host_is_never_asked_in_the_clear_by_default() {
        let options = ServerOptions::default();
        assert_eq!(options.tls_for("localhost"), TlsMode::Preferred);
        assert_eq!(options.tls_for("127.0.0.9"), TlsMode::Preferred);
        assert_eq!(options.tls_for("db.example"), TlsMode::Required);
        let with_ca = ServerOptions {
            ca: Some("/ca.pem".into()),
            ..options
        };
        assert_eq!(with_ca.tls_for("127.0.0.1"), TlsMode::VerifyIdentity);
    }

    #[test]
    fn a_socket_comes_before_a_host_and_a_port_makes_it_tcp() {
        let dsn = |text| ServerOptions::from_dsn(text).expect("valid").place();
        assert_eq!(
            dsn("mysql://u@localhost/?socket=/x.sock"),
            Place::Socket("/x.sock".into())
        );
        let tcp = |host: &str, port| Place::Tcp {
            host: host.to_owned(),
            port,
        };
        assert_eq!(dsn("mysql://u@localhost:3306"), tcp("localhost", 3306));
        assert_eq!(dsn("mysql://u@[::1]"), tcp("::1", 3306));
    }
}
