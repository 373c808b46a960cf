//! A table that nobody gets at for a while: a recovery that comes to it waits in its middle.

use crate::archive::Archive;
use crate::mysql::Server;
use crate::tools;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};

/// The table.
pub const TABLE: &str = "k.gate";

/// A history in which one transaction writes to the table, and `then` stands behind it; and the server that wrote it.
pub fn archived(then: &str) -> (Archive, Server) {
    let archive = Archive::encrypted();
    let source = Server::new();
    source.sql(&format!(
        "CREATE DATABASE k; CREATE TABLE {TABLE} (id INT); CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)"
    ));
    source.flush_logs();
    source.sql(&"USE d; INSERT INTO d.t (v) VALUES (7); ".repeat(20));
    source.sql(&format!("INSERT INTO {TABLE} VALUES (1); {then}"));
    source.flush_logs();
    archive.archive(&source.index_file());
    (archive, source)
}

/// A session that holds the table; dropped, it lets go.
pub struct Gate {
    session: Child,
}

impl Gate {
    /// Takes the table, which must be there. Who waits for it waits without end: `lock_wait_timeout` is a year.
    pub fn shut(server: &Server) -> Gate {
        let mut session = server
            .client()
            .args(["--batch", "--skip-column-names", "--unbuffered"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the mysql client starts");
        let stdin = session.stdin.as_mut().expect("stdin is piped");
        stdin
            .write_all(format!("LOCK TABLES {TABLE} WRITE;\nSELECT 'shut';\n").as_bytes())
            .expect("the client reads");
        let stdout = session.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the client answers");
        assert_eq!(line.trim(), "shut");
        Gate { session }
    }

    /// Lets who waits go on.
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.session.stdin.take());
        let _ = self.session.wait();
    }
}

/// Waits until somebody waits for the table.
#[track_caller]
pub fn is_reached(server: &Server, mut and: impl FnMut() -> bool) {
    tools::eventually("the recovery is at the gate", || {
        assert!(and(), "the recovery ended before it");
        let sessions = server.sql("SHOW PROCESSLIST").concat();
        let waits = |field: &String| field.contains("Waiting for table metadata lock");
        sessions.iter().any(waits)
    });
}
