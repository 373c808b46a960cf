//! Asking real servers: every way to reach them, what they say, what they refuse, and what happens when they do not answer.

mod silent;

use crate::mariadb::server::MariaDb;
use crate::mysql::{Options, Server as MySql};
use crate::tools;
use binlogfs::binlog::Flavour;
use binlogfs::source::server::{
    Danger, Expiry, Password, Server, ServerError, ServerOptions, TlsMode, expiry,
    has_something_to_save, worthless,
};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A server that was frozen answers again within this, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn by_socket(socket: &Path, user: &str, password: &str) -> Server {
    Server::new(ServerOptions {
        socket: Some(socket.to_owned()),
        user: Some(user.to_owned()),
        password: (!password.is_empty()).then(|| Password::new(password)),
        ..ServerOptions::default()
    })
}

fn by_tcp(port: u16, user: &str, tls: TlsMode) -> ServerOptions {
    ServerOptions {
        host: Some("127.0.0.1".to_owned()),
        port: Some(port),
        user: Some(user.to_owned()),
        password: Some(Password::new("s3cret#1")),
        tls: Some(tls),
        ..ServerOptions::default()
    }
}

/// A certificate for 127.0.0.1 that is its own CA, as `name`.pem and `name`.key.
fn certificate(dir: &Path, name: &str) {
    let path = |suffix: &str| dir.join(format!("{name}.{suffix}"));
    tools::run(
        Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
            ])
            .arg(format!("/CN={name}"))
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(path("key"))
            .arg("-out")
            .arg(path("pem")),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_server_is_asked_by_socket_tcp_tls_option_file_and_environment() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["server", "other"] {
        certificate(dir.path(), name);
    }
    let path = |name: &str| dir.path().join(name);
    let mysql = Options::new()
        .extra(format!("--ssl-cert={}", path("server.pem").display()))
        .extra(format!("--ssl-key={}", path("server.key").display()))
        .extra(format!("--ssl-ca={}", path("server.pem").display()))
        .start();
    mysql.sql(
        "CREATE USER 'archiver'@'%' IDENTIFIED BY 's3cret#1' REQUIRE SSL; GRANT REPLICATION CLIENT ON *.* TO 'archiver'@'%';
         CREATE USER 'archiver'@'localhost' IDENTIFIED BY 's3cret#1'; GRANT REPLICATION CLIENT ON *.* TO 'archiver'@'localhost'",
    );
    let uuid = mysql.uuid();
    let facts = by_socket(&mysql.socket(), "archiver", "s3cret#1")
        .facts()
        .await
        .expect("by socket");
    assert_eq!(
        facts.server_uuid().map(|u| u.to_string()),
        Some(uuid.clone())
    );
    assert_eq!(facts.flavour, Some(Flavour::MySql));
    assert_eq!(
        (facts.log_bin, facts.gtid_mode.as_deref()),
        (Some(true), Some("ON"))
    );
    assert_eq!(facts.max_binlog_size, Some(1 << 30));
    assert_eq!(
        expiry(&facts),
        Expiry::After(Duration::from_secs(2_592_000))
    );
    assert!(facts.threads_running.is_some() && facts.replica.is_none() && !facts.replica_unknown);
    assert_eq!(facts.identity.port, Some(u64::from(mysql.port())));
    // The tests' servers sync nothing.
    assert_eq!(worthless(&facts), [Danger::NotSynced { sync_binlog: 0 }]);

    let same = |facts: Result<binlogfs::source::server::ServerFacts, ServerError>, how: &str| {
        let facts = facts.unwrap_or_else(|e| panic!("{how}: {e}"));
        assert_eq!(
            facts.server_uuid().map(|u| u.to_string()),
            Some(uuid.clone()),
            "{how}"
        );
    };
    for tls in [TlsMode::Preferred, TlsMode::Required] {
        let server = Server::new(by_tcp(mysql.port(), "archiver", tls));
        same(server.facts().await, &format!("{tls:?}"));
    }
    let verified = |ca: &str| ServerOptions {
        ca: Some(path(ca)),
        ..by_tcp(mysql.port(), "archiver", TlsMode::VerifyIdentity)
    };
    same(
        Server::new(verified("server.pem")).facts().await,
        "verified",
    );
    let refused = [
        (
            "without TLS",
            by_tcp(mysql.port(), "archiver", TlsMode::Disabled),
            "password",
        ),
        ("another CA", verified("other.pem"), "ssl-ca"),
        (
            "another name",
            ServerOptions {
                host: Some("localhost".into()),
                ..verified("server.pem")
            },
            "ssl-ca",
        ),
    ];
    for (how, options, hint) in refused {
        let error = Server::new(options)
            .facts()
            .await
            .expect_err(how)
            .to_string();
        assert!(
            error.contains(hint) && !error.contains("s3cret"),
            "{how}: {error}"
        );
    }

    let file = path("my.cnf");
    let text = format!(
        "[client]\nuser=archiver\npassword=\"s3cret#1\"\n[binlogfs]\nhost=127.0.0.1\nport={}\nssl-mode=VERIFY_IDENTITY\nssl-ca={}\n",
        mysql.port(),
        path("server.pem").display()
    );
    std::fs::write(&file, text).expect("writes");
    let options = ServerOptions::from_defaults_file(&file).expect("valid");
    same(Server::new(options).facts().await, "option file");
    let dsn = format!(
        "mysql://archiver@localhost/?socket={}",
        mysql.socket().display()
    );
    let options = ServerOptions::from_dsn(&dsn).expect("valid");
    let without = Server::new(options.clone())
        .facts()
        .await
        .expect_err("no password")
        .to_string();
    assert!(without.contains("BINLOGFS_MYSQL_PASSWORD"), "{without}");
    let options = options.with_environment(|name| {
        (name == "BINLOGFS_MYSQL_PASSWORD").then(|| "s3cret#1".to_owned())
    });
    same(Server::new(options).facts().await, "environment");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_privileges_suffice_and_lesser_ones_are_named() {
    let mysql = MySql::new();
    mysql.sql(
        "CREATE USER a@localhost; CREATE USER watch@localhost; CREATE USER act@localhost;
         GRANT REPLICATION CLIENT ON *.* TO watch@localhost;
         GRANT REPLICATION CLIENT, RELOAD, BINLOG_ADMIN, PROCESS ON *.* TO act@localhost",
    );
    let server = |user| by_socket(&mysql.socket(), user, "");
    let nothing = server("a");
    assert!(
        nothing
            .facts()
            .await
            .expect("facts need nothing")
            .replica_unknown
    );
    for error in [
        nothing.binary_logs().await.map(drop).expect_err("denied"),
        nothing.active_log().await.map(drop).expect_err("denied"),
    ] {
        let text = error.to_string();
        assert!(matches!(error, ServerError::Denied { .. }), "{text}");
        assert!(
            text.contains("Grant the account REPLICATION CLIENT"),
            "{text}"
        );
    }
    let watch = server("watch");
    let logs = watch.binary_logs().await.expect("listed");
    let active = watch.active_log().await.expect("told");
    assert_eq!(logs.last().map(|log| &log.name), Some(&active.name));
    let identity = watch.identity().await.expect("told");
    let flush = watch
        .flush_binary_logs()
        .await
        .expect_err("denied")
        .to_string();
    assert!(flush.contains("RELOAD"), "{flush}");
    let purge = watch
        .purge_to(&active.name, &identity)
        .await
        .expect_err("denied")
        .to_string();
    assert!(purge.contains("BINLOG_ADMIN"), "{purge}");

    let act = server("act");
    let before = act.active_log().await.expect("told");
    act.flush_binary_logs().await.expect("flushed");
    let after = act.active_log().await.expect("told");
    assert!(before.name.number() < after.name.number());
    // Right after a rotation there is nothing to save; after a transaction there is.
    let head_end = after.position;
    let saves = |active| {
        has_something_to_save(
            active,
            Some(Flavour::MySql),
            Some(&before.executed),
            head_end,
        )
    };
    assert!(!saves(&after));
    mysql.sql("CREATE DATABASE d");
    assert!(saves(&act.active_log().await.expect("told")));
    act.purge_to(&after.name, &identity).await.expect("purged");
    assert_eq!(act.binary_logs().await.expect("listed").len(), 1);
    let mut other = identity.clone();
    other.server_uuid = Some(uuid::Uuid::from_u128(1));
    let error = act
        .purge_to(&after.name, &other)
        .await
        .expect_err("another");
    assert!(
        matches!(error, ServerError::AnotherServer { .. }),
        "{error}"
    );
    assert_eq!(act.connected_readers().await.expect("told"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_server_tells_the_same_in_its_own_words() {
    let maria = MariaDb::start(&["--expire-logs-days=3"]);
    maria.sql(
        "CREATE USER watch@localhost; GRANT BINLOG MONITOR, REPLICA MONITOR ON *.* TO watch@localhost;
         CREATE USER act@localhost; GRANT BINLOG MONITOR, REPLICA MONITOR, RELOAD, BINLOG ADMIN ON *.* TO act@localhost;
         CREATE USER a@localhost; CREATE DATABASE d",
    );
    let watch = by_socket(&maria.socket(), "watch", "");
    let facts = watch.facts().await.expect("told");
    assert_eq!(
        (facts.flavour, facts.server_uuid()),
        (Some(Flavour::MariaDb), None)
    );
    assert_eq!(
        expiry(&facts),
        Expiry::After(Duration::from_secs(3 * 86_400))
    );
    assert!(!facts.replica_unknown && facts.replica.is_none());
    let act = by_socket(&maria.socket(), "act", "");
    let before = act.active_log().await.expect("told");
    assert!(!before.executed.is_empty() && before.executed.has_mariadb());
    act.flush_binary_logs().await.expect("flushed");
    let after = watch.active_log().await.expect("told");
    let saves = |active| has_something_to_save(active, facts.flavour, Some(&before.executed), 0);
    assert!(!saves(&after), "checkpoints are nothing to save");
    maria.sql("CREATE DATABASE e");
    assert!(saves(&watch.active_log().await.expect("told")));
    assert_eq!(watch.binary_logs().await.expect("listed").len(), 2);
    let identity = act.identity().await.expect("told");
    act.purge_to(&after.name, &identity)
        .await
        .expect("accepted");
    let denied = by_socket(&maria.socket(), "a", "")
        .binary_logs()
        .await
        .expect_err("denied");
    assert!(matches!(denied, ServerError::Denied { .. }), "{denied}");
    let denied = watch
        .flush_binary_logs()
        .await
        .expect_err("denied")
        .to_string();
    assert!(denied.contains("RELOAD"), "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_forbids_a_purge_is_told_as_the_servers_words() {
    let mysql = MySql::new();
    mysql.flush_logs();
    let server = by_socket(&mysql.socket(), "root", "");
    let identity = server.identity().await.expect("told");
    let active = server.active_log().await.expect("told");
    let mut backup = mysql
        .client()
        .args(["-e", "LOCK INSTANCE FOR BACKUP; SELECT SLEEP(60)"])
        .stdout(std::process::Stdio::null())
        // It is killed, and would say so.
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the client starts");
    let start = Instant::now();
    let holds =
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'";
    while mysql.sql_value(holds) != "1" {
        assert!(start.elapsed() < PATIENCE, "the backup holds its lock");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = server
        .purge_to(&active.name, &identity)
        .await
        .expect_err("locked");
    assert!(matches!(error, ServerError::Query { .. }), "{error}");
    assert!(
        error.to_string().contains("LOCK INSTANCE FOR BACKUP"),
        "{error}"
    );
    assert_eq!(
        server.binary_logs().await.expect("listed").len(),
        2,
        "the session still works"
    );
    let _ = backup.kill();
    let _ = backup.wait();
}
