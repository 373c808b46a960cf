//! Replicas whose stores let in others than the first store does.

use crate::archive::Archive;
use crate::s3::server::{Account, BUCKET, S3Server};
use crate::synthetic::SyntheticServer;
use crate::tools;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Two S3 servers, of which neither knows whom the other lets in, and what is archived to both.
struct Two {
    archive: Archive,
    server: SyntheticServer,
    first: S3Server,
    copy: S3Server,
    account: Account,
}

impl Two {
    fn start() -> Two {
        let archive = Archive::plain();
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..2).for_each(|_| server.rotate(3, 1000));
        let account = Account {
            access_key: "key-of-the-copy".to_owned(),
            secret_key: "secret-of-the-copy".to_owned(),
            prefix: "copy".to_owned(),
        };
        Two {
            first: S3Server::start(&archive.path("first")),
            copy: S3Server::start_only_for(&archive.path("second"), std::slice::from_ref(&account)),
            archive,
            server,
            account,
        }
    }

    /// A credentials file with the account in this section.
    fn credentials(&self, section: &str) -> PathBuf {
        let path = self.archive.path(&format!("credentials-{section}"));
        let text = format!(
            "[{section}]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            self.account.access_key, self.account.secret_key
        );
        fs::write(&path, text).expect("writable");
        path
    }

    /// One run of the archiver with `replica` in the list of replicas; how its stream is.
    fn archive(&self, replica: &str) -> Value {
        let config = self.archive.path("binlogfs.toml");
        let text = format!(
            "[[stream]]\nname = \"orders\"\nsource = \"{}\"\nto = \"{}\"\nreplicas = [{replica}]\nallow_unencrypted = true\n",
            self.server.dir().display(),
            self.first.url("orders")
        );
        fs::write(&config, text).expect("writable");
        let mut command = tools::binlogfs();
        command
            .args(["archive", "--once", "--json", "--config"])
            .arg(config);
        command.arg("--state-dir").arg(self.archive.path("states"));
        let output = tools::output(&mut command);
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", tools::excerpt(&output.stderr)));
        told[0].clone()
    }

    fn records_of_copy(&self) -> usize {
        let dir = self.archive.path("second").join(BUCKET).join("copy/ledger");
        fs::read_dir(dir).map_or(0, Iterator::count)
    }
}

#[test]
fn each_replica_is_asked_in_the_name_that_its_own_file_gives() {
    let mut two = Two::start();
    let url = two.copy.url("copy");
    let alone = format!("\"{url}\"");
    // In the name of the agent, whom the first store lets in and the second does not know.
    let health = two.archive(&alone);
    assert_eq!(health["totals"]["segments"], 2, "{health:#}");
    assert!(
        health["replicas"][0]["last_error"].is_string(),
        "it is not filled: {health:#}"
    );
    assert_eq!(two.records_of_copy(), 0);
    // In the name of its file's default section, and of another section.
    for (section, more) in [("default", ""), ("copies", ", profile = \"copies\"")] {
        two.server.rotate(3, 1000);
        let file = two.credentials(section);
        let table = format!(
            "{{ to = \"{url}\", credentials_file = \"{}\"{more} }}",
            file.display()
        );
        let health = two.archive(&table);
        assert_eq!(
            health["replicas"][0]["last_error"],
            Value::Null,
            "{health:#}"
        );
        assert_eq!(health["replicas"][0]["lag_records"], 0, "{health:#}");
        assert_eq!(two.records_of_copy(), two.server.closed().len());
    }
    assert_eq!((two.first.refused(), two.copy.refused()), (0, 0));
    // Both are the same, each by the name that it knows.
    let first = two.archive.path("first").join(BUCKET).join("orders");
    let copy = two.archive.path("second").join(BUCKET).join("copy");
    assert!(super::objects(&first) == super::objects(&copy));
    let mut verify = tools::binlogfs();
    verify
        .args(["verify", "--deep", &url, "--cache-dir"])
        .arg(two.archive.path("copy-cache"))
        .env("AWS_ACCESS_KEY_ID", &two.account.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &two.account.secret_key);
    tools::run(&mut verify);
}
