//! Manners beside a real server: quiet hours, a busy server or a late replica, limits; and that danger overrides them.

use super::daemon::{Daemon, until};
use super::live::{configuration, start};
use crate::archive::Archive;
use crate::mysql::{Options, Server};

/// A server with a closed file of some megabytes that do not compress.
fn server_with_a_file(megabytes: u32) -> Server {
    let server = Options::new().start();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v BLOB)");
    let row = "INSERT INTO d.t (v) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT RANDOM_BYTES(1000) FROM n;";
    server.sql(&row.repeat(megabytes as usize));
    server.flush_logs();
    server
}

fn archived(archive: &Archive) -> usize {
    archive.keys("ledger").len()
}

fn metric(daemon: &Daemon, line: &str) -> bool {
    daemon.get("/metrics").1.contains(line)
}

const PAUSED: &str = "binlogfs_paused{stream=\"live\"} 1.0";
/// With the default threshold of 24 hours, everything is near its expiry.
const EXPIRE_SOON: &str = "SET GLOBAL binlog_expire_logs_seconds = 7200";

#[test]
fn quiet_hours_are_kept_until_the_server_is_about_to_purge() {
    let archive = Archive::encrypted();
    let server = server_with_a_file(1);
    // What is active is old enough to be closed, and stays so: FLUSH waits for the locks of a backup.
    server.sql("INSERT INTO d.t (v) VALUES ('x')");
    let now = jiff::Zoned::now();
    let hour = jiff::Span::new().hours(1);
    let from = now
        .checked_sub(hour)
        .expect("a time")
        .strftime("%H:%M")
        .to_string();
    let to = now
        .checked_add(hour)
        .expect("a time")
        .strftime("%H:%M")
        .to_string();
    let more = format!("pause = [\"{from}-{to}\"]\nrotate_after = \"10s\"\n");
    let daemon = start(&configuration(&archive, &server, &more), &[]);
    until("it waits", || metric(&daemon, PAUSED));
    assert!(metric(
        &daemon,
        "binlogfs_lag_segments{stream=\"live\"} 1.0"
    ));
    assert_eq!((archived(&archive), server.binlogs().len()), (0, 2));
    server.sql(EXPIRE_SOON);
    until("danger overrides the quiet hours", || {
        archived(&archive) >= 1
    });
    until("it no longer waits", || !metric(&daemon, PAUSED));
    assert!(metric(&daemon, "alarm=\"expiry\""));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_busy_server_is_given_way_to() {
    let archive = Archive::encrypted();
    let server = server_with_a_file(1);
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let mut client = server.client();
            client
                .args(["-e", "SELECT SLEEP(1000)"])
                .stdout(std::process::Stdio::null());
            client
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("the client starts")
        })
        .collect();
    let sleeping = "FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'";
    until("the server is busy", || {
        server.sql_value(&format!("SELECT COUNT(*) {sleeping}")) == "4"
    });
    let more = "yield_threads_running = 4\n";
    let daemon = start(&configuration(&archive, &server, more), &[]);
    until("it waits", || metric(&daemon, PAUSED));
    assert_eq!(archived(&archive), 0);
    for row in server.sql(&format!("SELECT id {sleeping}")) {
        server.sql(&format!("KILL {}", row[0]));
    }
    until("it goes on", || archived(&archive) == 1);
    assert_eq!(daemon.stop(), Some(0));
    for mut client in busy {
        let _ = client.wait();
    }
}

#[test]
fn a_replica_that_is_late_is_given_way_to() {
    let archive = Archive::encrypted();
    let (source, replica) = (Options::new().start(), Options::new().server_id(2).start());
    replica.sql("CREATE DATABASE own");
    replica.flush_logs();
    replicate(&replica, &source, "source_delay = 3600");
    replica.sql("START REPLICA");
    source.sql("CREATE DATABASE d");
    until("the replica is late, and says so", || {
        // Seconds_Behind_Source.
        let behind = replica.sql("SHOW REPLICA STATUS")[0][32].parse::<u64>();
        behind.is_ok_and(|seconds| seconds >= 2)
    });
    let more = "yield_replica_lag = \"1s\"\n";
    let daemon = start(&configuration(&archive, &replica, more), &[]);
    until("it waits", || metric(&daemon, PAUSED));
    replica.sql("STOP REPLICA SQL_THREAD; CHANGE REPLICATION SOURCE TO source_delay = 0; START REPLICA SQL_THREAD");
    until("the replica has caught up", || {
        replica.sql("SHOW DATABASES LIKE 'd'").len() == 1
    });
    until("it goes on", || archived(&archive) >= 1);
    assert_eq!(daemon.stop(), Some(0));
}

/// Makes `replica` one of `source`'s, with more of CHANGE REPLICATION SOURCE. It is not started yet.
pub fn replicate(replica: &Server, source: &Server, more: &str) {
    source.sql(
        "CREATE USER r@'127.0.0.1' IDENTIFIED BY 'r'; GRANT REPLICATION SLAVE ON *.* TO r@'127.0.0.1'",
    );
    replica.sql(&format!(
        "CHANGE REPLICATION SOURCE TO source_host = '127.0.0.1', source_port = {}, source_user = 'r', source_password = 'r',
         source_auto_position = 1, get_source_public_key = 1, source_connect_retry = 1, {more}",
        source.port()
    ));
}

#[test]
fn limits_hold_and_fall_in_the_middle_of_a_file_when_danger_comes() {
    let archive = Archive::encrypted();
    // At that rate they take seven minutes, by any of the limits.
    let server = server_with_a_file(4);
    let more = "read_limit = \"10KB/s\"\nsend_limit = \"10KB/s\"\ncpu_limit = 1\n";
    let daemon = start(&configuration(&archive, &server, more), &[]);
    until("it is seen at work, and how much waits", || {
        metric(&daemon, "binlogfs_lag_segments{stream=\"live\"} 1.0")
    });
    assert_eq!(archived(&archive), 0);
    server.sql(EXPIRE_SOON);
    until("the limits fall", || archived(&archive) == 1);
    assert_eq!(daemon.stop(), Some(0));
    archive.verify();
}
