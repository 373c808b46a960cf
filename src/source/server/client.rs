//! The stock client's way to the same server as the same account.

use super::options::{OptionsError, Password, Place, ServerOptions, TlsMode};
use crate::binlog::Flavour;
use std::process::Command;

/// Where the client takes the password from: of a process, only its owner and root can read it.
const PASSWORD_VARIABLE: &str = "MYSQL_PWD";

/// Options of `mysql` or `mariadb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientLogin {
    arguments: Vec<String>,
    password: Option<Password>,
}

impl ServerOptions {
    /// What `flavour`'s client needs to connect as we do.
    ///
    /// # Errors
    /// When no account is named.
    pub fn client_login(&self, flavour: Flavour) -> Result<ClientLogin, OptionsError> {
        let mut arguments = vec![
            // What its own option files say is for people: a pager, safe updates, an init_command.
            "--no-defaults".to_owned(),
            format!("--user={}", self.account()?),
        ];
        match self.place() {
            Place::Socket(path) => arguments.push(format!("--socket={}", path.display())),
            Place::Tcp { host, port } => {
                let tls = tls_options(self.tls_for(&host), flavour);
                arguments.push(format!("--host={host}"));
                arguments.push(format!("--port={port}"));
                arguments.push("--protocol=TCP".to_owned());
                arguments.extend(tls.iter().map(|&option| option.to_owned()));
                arguments.extend(
                    self.ca
                        .iter()
                        .map(|ca| format!("--ssl-ca={}", ca.display())),
                );
            }
        }
        Ok(ClientLogin {
            arguments,
            password: self.password.clone(),
        })
    }
}

fn tls_options(mode: TlsMode, flavour: Flavour) -> &'static [&'static str] {
    match (flavour, mode) {
        (Flavour::MySql, TlsMode::Disabled) => &["--ssl-mode=DISABLED"],
        (Flavour::MySql, TlsMode::Preferred) => &["--ssl-mode=PREFERRED"],
        (Flavour::MySql, TlsMode::Required) => &["--ssl-mode=REQUIRED"],
        (Flavour::MySql, TlsMode::VerifyIdentity) => &["--ssl-mode=VERIFY_IDENTITY"],
        (Flavour::MariaDb, TlsMode::Disabled) => &["--skip-ssl"],
        // From 11.4 on it wants certificates that can be verified, unless told otherwise.
        (Flavour::MariaDb, TlsMode::Preferred) => &["--skip-ssl-verify-server-cert"],
        (Flavour::MariaDb, TlsMode::Required) => &["--ssl", "--skip-ssl-verify-server-cert"],
        (Flavour::MariaDb, TlsMode::VerifyIdentity) => &["--ssl", "--ssl-verify-server-cert"],
    }
}

impl ClientLogin {
    /// Adds it to a command that has no argument yet: the client wants some of it first.
    pub fn apply(&self, command: &mut Command) {
        command.args(&self.arguments);
        match &self.password {
            Some(password) => command.env(PASSWORD_VARIABLE, password.reveal()),
            None => command.env_remove(PASSWORD_VARIABLE),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_connects_as_we_do_and_no_argument_has_the_password() {
        let options = ServerOptions {
            user: Some("ann".into()),
            host: Some("db1".into()),
            password: Some(Password::new("s3cret")),
            ..ServerOptions::default()
        };
        let arguments = |flavour| {
            let mut command = Command::new("mysql");
            options
                .client_login(flavour)
                .expect("an account")
                .apply(&mut command);
            let words = command
                .get_args()
                .map(|a| a.to_str().expect("text").to_owned());
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            arguments(Flavour::MySql),
            "--no-defaults --user=ann --host=db1 --port=3306 --protocol=TCP --ssl-mode=REQUIRED"
        );
        assert_eq!(
            arguments(Flavour::MariaDb),
            "--no-defaults --user=ann --host=db1 --port=3306 --protocol=TCP --ssl --skip-ssl-verify-server-cert"
        );
        assert!(
            ServerOptions::default()
                .client_login(Flavour::MySql)
                .is_err()
        );
    }
}
