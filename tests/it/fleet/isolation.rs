//! What a tenant's credentials and key reach: its own, and nothing of another's; and what a mount of one tenant can name.

use super::{Fleet, records};
use crate::agent::daemon::{Daemon, until};
use crate::s3::moto::Moto;
use crate::s3::server::{Account, BUCKET, REGION, S3Server};
use crate::tools;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TENANTS: [&str; 2] = ["acme", "globex"];

/// Two tenants, each with an account on a server, and an agent's configuration for both.
struct Two {
    template: String,
    fleet: Fleet,
    accounts: Vec<Account>,
}

impl Two {
    /// On a server on which all have one bucket, and each a prefix in it.
    fn start() -> (S3Server, Two) {
        let fleet = Fleet::new();
        let account = |tenant: &str| Account {
            access_key: format!("{tenant}-access-key"),
            secret_key: format!("{tenant}-secret-key"),
            prefix: tenant.to_owned(),
        };
        let accounts: Vec<_> = TENANTS.map(account).into();
        let server = S3Server::start_for(&fleet.path("s3"), &accounts);
        let template = server.url("{tenant}/{cluster}");
        (server, Two::with(template, fleet, accounts))
    }

    fn with(template: String, fleet: Fleet, accounts: Vec<Account>) -> Two {
        for (number, account) in (1..).zip(&accounts) {
            fleet.server(&account.prefix, number, 3, 20_000);
            fs::write(fleet.path(&account.prefix), credentials(account)).expect("writable");
        }
        Two {
            template,
            fleet,
            accounts,
        }
    }

    /// The URL of a tenant's stream.
    fn url(&self, tenant: &str) -> String {
        let url = self.template.replace("{tenant}", tenant);
        url.replace("{cluster}", "orders")
    }

    /// Each reads its own, and is refused the other's.
    fn check_apart(&self) {
        for (tenant, other) in [("acme", "globex"), ("globex", "acme")] {
            let read = tools::run(&mut self.as_tenant(tenant, &["cat", &self.url(tenant)]));
            assert!(read.len() > 60_000);
            for command in ["ls", "status", "verify", "cat"] {
                let output =
                    tools::output(&mut self.as_tenant(tenant, &[command, &self.url(other)]));
                let said = tools::excerpt(&output.stderr);
                assert_eq!(output.status.code(), Some(1), "{command}: {said}");
                assert!(said.to_lowercase().contains("denied"), "{command}: {said}");
                assert!(output.stdout.is_empty(), "{command}");
            }
            let dir = self.fleet.path("servers").join(tenant);
            let mut write =
                self.as_tenant(tenant, &["archive", "--once", "--to", &self.url(other)]);
            write.arg("--source").arg(&dir).arg("--allow-unencrypted");
            write.arg("--state-dir").arg(self.fleet.path("intruder"));
            let output = tools::output(&mut write);
            let said = tools::excerpt(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.to_lowercase().contains("denied"), "{said}");
        }
    }

    fn key(&self, tenant: &str) -> PathBuf {
        self.fleet.path(&format!("{tenant}.key"))
    }

    /// The configuration in which each tenant has the credentials of the one beside it in `whose`.
    fn configure(&self, whose: [&str; 2]) -> PathBuf {
        let mut text = String::new();
        for (account, whose) in self.accounts.iter().zip(whose) {
            let tenant = &account.prefix;
            let key = self.key(tenant);
            if !key.exists() {
                tools::run(tools::binlogfs().arg("keygen").arg("-o").arg(&key));
            }
            let made = fs::read_to_string(&key).expect("readable");
            let recipient = made
                .split_whitespace()
                .find(|word| word.starts_with("age1"));
            text += &format!(
                "[[tenant]]\nname = \"{tenant}\"\nto = \"{}\"\ncredentials_file = \"{}\"\nrecipients = [\"{}\"]\n\
                 [[stream]]\ntenant = \"{tenant}\"\ncluster = \"orders\"\nsource = \"{}\"\n",
                self.template,
                self.fleet.path(whose).display(),
                recipient.expect("a key file names its public key"),
                self.fleet.path("servers").join(tenant).display(),
            );
        }
        self.fleet.configure(&text)
    }

    fn stored(&self, tenant: &str) -> PathBuf {
        self.fleet
            .path("s3")
            .join(BUCKET)
            .join(tenant)
            .join("orders")
    }

    /// A command in the name of a tenant alone, with its key.
    fn as_tenant(&self, tenant: &str, arguments: &[&str]) -> Command {
        let account = self.accounts.iter().find(|a| a.prefix == tenant);
        let account = account.expect("a tenant");
        let mut command = tools::binlogfs();
        command
            .env("AWS_ACCESS_KEY_ID", &account.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &account.secret_key)
            .args(arguments)
            .arg("--identity")
            .arg(self.key(tenant))
            .arg("--cache-dir")
            .arg(self.fleet.path("cache").join(tenant));
        command
    }
}

fn credentials(account: &Account) -> String {
    format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        account.access_key, account.secret_key
    )
}

#[test]
fn an_agent_archives_each_tenant_in_its_own_name_and_no_tenant_reaches_anothers() {
    let (server, two) = Two::start();
    let config = two.configure(TENANTS);
    // The environment names nobody whom the server knows: it is not asked.
    let mut agent = two.fleet.agent(&config);
    agent
        .env("AWS_ACCESS_KEY_ID", "nobody")
        .env("AWS_SECRET_ACCESS_KEY", "nothing");
    let daemon = Daemon::start(agent, true);
    for tenant in TENANTS {
        until("it is archived", || records(&two.stored(tenant)) == 3);
    }
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(server.refused(), 0);
    two.check_apart();
    for (tenant, other) in [("acme", "globex"), ("globex", "acme")] {
        // Where the store lets it in, its key opens nothing: a copy of the other's objects.
        let copy = two.fleet.path(&format!("copy-of-{other}"));
        tools::run(
            Command::new("cp")
                .arg("-r")
                .arg(two.stored(other))
                .arg(&copy),
        );
        let copied = format!("file://{}", copy.display());
        let output = tools::output(&mut two.as_tenant(tenant, &["cat", &copied]));
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn on_moto_with_policies_of_iam_each_tenant_has_its_bucket_and_no_other() {
    let (moto, accounts) = Moto::start_for(&TENANTS);
    let template = format!(
        "s3://{{tenant}}-binlogs/{{cluster}}?endpoint={}&region={REGION}&path_style=true",
        moto.endpoint()
    );
    let two = Two::with(template, Fleet::new(), accounts);
    let config = two.configure(TENANTS);
    let mut once = two.fleet.agent(&config);
    once.env("AWS_ACCESS_KEY_ID", "nobody")
        .env("AWS_SECRET_ACCESS_KEY", "nothing");
    tools::run(once.arg("--once"));
    two.check_apart();
}

#[test]
fn credentials_of_another_tenant_archive_nothing_and_say_why() {
    let (_server, two) = Two::start();
    let config = two.configure(["acme", "acme"]);
    let daemon = Daemon::start(two.fleet.agent(&config), true);
    until("the one is archived", || records(&two.stored("acme")) == 3);
    let mut ready = String::new();
    until("the other is refused", || {
        ready = daemon.get("/readyz").1;
        ready.starts_with("globex/orders: ") && ready.to_lowercase().contains("denied")
    });
    assert!(!two.stored("globex").exists());
    assert!(!ready.contains("secret-key"), "{ready}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_mount_of_one_tenant_names_nothing_of_another() {
    let (server, two) = Two::start();
    let config = two.configure(TENANTS);
    let mut once = two.fleet.agent(&config);
    tools::run(once.arg("--once"));
    let dir = two.fleet.path("mnt");
    fs::create_dir(&dir).expect("writable");
    let mount = dir.to_str().expect("text");
    let url = server.url("acme");
    tools::run(&mut two.as_tenant("acme", &["mount", &url, mount]));
    let _unmount = Unmount(&dir);
    let found = tools::run_text(Command::new("find").arg(&dir));
    assert!(found.contains("/mnt/orders/binlog.000001"), "{found}");
    assert!(!found.contains("globex"), "{found}");
    for name in [
        "globex",
        "globex/orders",
        "orders/globex",
        "acme",
        "../globex/orders",
    ] {
        assert!(fs::metadata(dir.join(name)).is_err(), "{name}");
    }
    // What no policy would keep it from asking for: the credentials may all, and the mount still names only what is below.
    assert_eq!(server.refused(), 0);
    let twin = two.fleet.path("mnt-of-all");
    fs::create_dir(&twin).expect("writable");
    let mount = twin.to_str().expect("text");
    let mut command = tools::binlogfs();
    command.args(["mount", &url, mount]).arg("--cache-dir");
    tools::run(command.arg(two.fleet.path("cache/all")));
    let _unmount = Unmount(&twin);
    let names: Vec<_> = fs::read_dir(&twin)
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["orders"]);
    assert!(fs::metadata(twin.join("globex/orders")).is_err());
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
