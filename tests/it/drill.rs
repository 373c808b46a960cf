//! `binlogfs drill`: servers of its own, out of real backups and an archive.

use crate::archive::Archive;
use crate::backup;
use crate::mysql::{Server, copying_wrapper, mysqld_wrapper};
use crate::recover::clients;
use crate::tools;
use binlogfs::model::GtidSet;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A source with a registered dump, and more history after it.
struct Drilled {
    archive: Archive,
    source: Server,
    /// What the source had at the end.
    checksums: Vec<Vec<String>>,
    scratch: PathBuf,
    mysqld: PathBuf,
}

const DUMP: &str = "nightly";

impl Drilled {
    fn new() -> Drilled {
        let archive = Archive::encrypted();
        let source = Server::new();
        source.sql(
            "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v VARBINARY(99)); CREATE TABLE d.`a b` (id INT);
             CREATE USER app@localhost IDENTIFIED BY 'secret'; CREATE USER binlogfs_other@localhost",
        );
        let insert = "INSERT INTO d.t (v) VALUES (RANDOM_BYTES(50)); ";
        source.sql(&insert.repeat(50));
        source.dump(&[], &archive.path("dump.sql"));
        for n in 0..3 {
            source.sql(&insert.repeat(100));
            source.sql(&format!(
                "INSERT INTO d.`a b` VALUES ({n}); GRANT SELECT ON d.* TO app@localhost"
            ));
            source.flush_logs();
        }
        archive.archive(&source.index_file());
        backup::add(&archive, &archive.path("dump.sql"), DUMP, 0);
        let checksums = source.sql("CHECKSUM TABLE d.`a b`, d.t EXTENDED");
        let scratch = archive.path("scratch");
        let mysqld = copying_wrapper(&archive.path("mysqld"));
        Drilled {
            archive,
            source,
            checksums,
            scratch,
            mysqld,
        }
    }

    fn command(&self, more: &[&str]) -> Command {
        let clients = clients(&self.archive);
        let url = self.archive.url();
        let mut command = self.archive.command(&["drill", &url, "--backup", DUMP]);
        command
            .arg("--scratch-dir")
            .arg(&self.scratch)
            .arg("--mount-dir")
            .arg(self.archive.path("mounted"))
            .arg("--mysqld")
            .arg(&self.mysqld)
            .arg("--mysqlbinlog")
            .arg(clients.join("mysqlbinlog"))
            .arg("--mysql")
            .arg(clients.join("mysql"))
            .args(more);
        command
    }

    fn output(&self, more: &[&str]) -> Output {
        let output = tools::output(&mut self.command(more));
        self.leaves_nothing();
        output
    }

    #[track_caller]
    fn run(&self, more: &[&str]) -> Value {
        let output = self.output(&[&["--json"], more].concat());
        let said = tools::excerpt(&output.stderr) + &tools::excerpt(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{more:?}: {said}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// No directory, and no server that was in it.
    #[track_caller]
    fn leaves_nothing(&self) {
        let left = fs::read_dir(&self.scratch).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{}", self.scratch.display());
        let scratch = self.scratch.to_str().expect("text");
        let servers = fs::read_dir("/proc")
            .expect("proc is mounted")
            .filter(|entry| {
                let path = entry.as_ref().expect("an entry").path().join("cmdline");
                let line = fs::read(path).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                line.contains("mysqld") && line.contains(&format!("--datadir={scratch}"))
            });
        assert_eq!(servers.count(), 0);
    }
}

#[test]
fn a_drill_makes_the_server_that_was_by_either_engine_and_leaves_nothing() {
    let mut drilled = Drilled::new();
    // Really initialised, for each engine; once such servers are seen to be right, copies of one do.
    let initialising = mysqld_wrapper(&drilled.archive.path("initialising"));
    let copying = std::mem::replace(&mut drilled.mysqld, initialising);
    let metrics = drilled.archive.path("drill.prom");
    let path = metrics.to_str().expect("text");
    for engine in ["pipe", "parallel"] {
        let report = drilled.run(&["--to-end", "--engine", engine, "--metrics", path]);
        assert_eq!(report["proven"], true, "{report:#}");
        assert_eq!(report["engine"], engine);
        assert_eq!(report["transactions"], 306);
        for row in &drilled.checksums {
            let sum = report["tables"][&row[0]].as_u64().expect("a checksum");
            assert_eq!(sum.to_string(), row[1], "{report:#}");
        }
        assert_eq!(
            report["gtid_executed"].as_str().expect("text"),
            drilled.source.sql_value("SELECT @@GLOBAL.gtid_executed")
        );
        let told = fs::read_to_string(&metrics).expect("written");
        assert!(told.contains("\nbinlogfs_drill_success{stream="), "{told}");
        assert!(
            told.contains("\"} 1\n") && told.contains("\"} 306\n"),
            "{told}"
        );
        fs::write(drilled.archive.path("reference.json"), report.to_string()).expect("writable");
    }

    drilled.mysqld = copying;
    // Against the report of an earlier one.
    let reference = drilled.archive.path("reference.json");
    let reference = reference.to_str().expect("text");
    let again = drilled.run(&["--to-end", "--reference", reference]);
    assert_eq!(
        (&again["compared"], &again["proven"]),
        (&true.into(), &true.into())
    );
    let mut report: Value =
        serde_json::from_slice(&fs::read(reference).expect("there")).expect("JSON");
    report["tables"]["d.t"] = 1.into();
    fs::write(reference, report.to_string()).expect("writable");
    let output = drilled.output(&["--to-end", "--reference", reference, "--metrics", path]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("NOT as in the reference: d.t\n"), "{said}");
    let told = fs::read_to_string(&metrics).expect("written");
    assert!(
        told.contains("\nbinlogfs_drill_success{stream=") && told.contains("\"} 0\n"),
        "{told}"
    );
}

#[test]
fn a_drill_draws_a_moment_and_tells_which() {
    let drilled = Drilled::new();
    let report = drilled.run(&[]);
    let target = report["target"].as_str().expect("text");
    let moment = target
        .strip_prefix("all that was committed up to ")
        .expect(target);
    // Asked for by name, the same moment is the same place.
    let again = drilled.run(&["--to", moment]);
    for member in ["stop", "transactions", "tables", "gtid_executed"] {
        assert_eq!(report[member], again[member], "{member}");
    }
}

#[test]
fn a_drill_draws_a_moment_before_a_hole_and_is_not_refused_for_it() {
    let drilled = Drilled::new();
    let executed = || -> GtidSet {
        let text = drilled.source.sql_value("SELECT @@GLOBAL.gtid_executed");
        text.parse().expect("a GTID set")
    };
    let reached = executed();
    for _ in 0..2 {
        drilled.source.sql("INSERT INTO d.t (v) VALUES ('behind')");
        drilled.source.flush_logs();
    }
    let purge = "PURGE BINARY LOGS TO 'binlog.000005'";
    drilled.source.sql(purge);
    drilled.archive.archive(&drilled.source.index_file());
    let report = drilled.run(&[]);
    assert_eq!(report["proven"], true, "{report:#}");
    let made = report["gtid_executed"].as_str().expect("text");
    let made: GtidSet = made.parse().expect("a GTID set");
    assert!(made.is_subset(&reached), "{made}");
    let output = drilled.output(&["--to-end"]);
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
}

#[test]
fn a_drill_restores_compressed_dumps_and_whatever_a_command_restores() {
    let drilled = Drilled::new();
    let dump = drilled.archive.path("dump.sql");
    tools::run(Command::new("gzip").arg("--keep").arg(&dump));
    let packed = drilled.archive.path("dump.sql.gz");
    let by_name = drilled.run(&["--to-end", "--from", packed.to_str().expect("text")]);
    let clients = clients(&drilled.archive);
    let command = format!(
        "'{}' --no-defaults --user=root --socket=\"$BINLOGFS_SOCKET\" <\"$BINLOGFS_BACKUP\"",
        clients.join("mysql").display()
    );
    let by_command = drilled.run(&["--to-end", "--restore", &command]);
    assert_eq!(by_name["tables"], by_command["tables"]);
    assert_eq!(by_name["tables"].as_object().expect("a map").len(), 2);
}

#[test]
fn a_drill_that_cannot_work_says_why_and_leaves_nothing() {
    let drilled = Drilled::new();
    let metrics = drilled.archive.path("drill.prom");
    let path = metrics.to_str().expect("text");
    let nowhere = drilled.archive.path("nowhere.sql");
    let torn = drilled.archive.path("torn.sql");
    // As long as that gzip waits for a reader.
    let text = "CREATE DATABASE x; NONSENSE;\n".to_owned() + &"SELECT RAND();\n".repeat(100_000);
    fs::write(&torn, text).expect("writable");
    tools::run(Command::new("gzip").arg("--keep").arg(&torn));
    let packed = drilled.archive.path("torn.sql.gz");
    for (more, code, words) in [
        (vec!["--to", "2099-01-01T00:00:00Z"], 4, "not recoverable"),
        (
            vec!["--from", nowhere.to_str().expect("text")],
            1,
            "nowhere.sql",
        ),
        (vec!["--from", torn.to_str().expect("text")], 1, "NONSENSE"),
        (
            vec!["--from", packed.to_str().expect("text")],
            1,
            "NONSENSE",
        ),
        (
            vec!["--restore", "echo it is gone >&2; exit 7"],
            1,
            "it is gone",
        ),
        (
            vec!["--mysqld", "/nonexistent/mysqld"],
            1,
            "/nonexistent/mysqld",
        ),
        (
            vec!["--mysqld-option=--no-such-option"],
            1,
            "no-such-option",
        ),
    ] {
        // A second --mysqld is an error of usage, so that one goes without the usual.
        let output = match more[0] {
            "--mysqld" => {
                let url = drilled.archive.url();
                let mut command = drilled.archive.command(&["drill", &url, "--backup", DUMP]);
                let clients = clients(&drilled.archive);
                command
                    .arg("--mysqlbinlog")
                    .arg(clients.join("mysqlbinlog"))
                    .arg("--mysql")
                    .arg(clients.join("mysql"));
                command.arg("--scratch-dir").arg(&drilled.scratch);
                tools::output(command.args(&more).args(["--metrics", path]))
            }
            _ => drilled.output(&[more.as_slice(), &["--metrics", path]].concat()),
        };
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {said}");
        assert!(said.contains(words), "{more:?}: {said}");
        let told = fs::read_to_string(&metrics).expect("written");
        assert!(told.contains("\"} 0\n"), "{more:?}: {told}");
        drilled.leaves_nothing();
    }
    let url = drilled.archive.url();
    let output = drilled.archive.output(&["drill", &url, "--to-end"]);
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--backup"), "{said}");
    // Another base is none either.
    let set = format!("{}:1", drilled.source.uuid());
    let more = ["drill", &url, "--to-end", "--from-gtid-set", &set];
    let said = tools::excerpt(&drilled.archive.output(&more).stderr);
    assert!(said.contains("name it with --backup"), "{said}");
}
