//! `binlogfs history`: what happened is told from the tails, and no file is fetched for it.

use crate::archive::Archive;
use crate::mysql::Server;
use crate::tools;
use serde_json::Value;

fn found(archive: &Archive, arguments: &[&str], code: i32) -> (Vec<Value>, Vec<Value>) {
    let json = archive.json("history", arguments, code);
    let list = |name: &str| json[name].as_array().expect("a list").clone();
    (list("found"), list("incomplete"))
}

fn text<'a>(finding: &'a Value, member: &str) -> &'a str {
    finding[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member} in {finding}"))
}

#[test]
fn the_statement_that_dropped_a_table_is_found_with_its_place_and_what_surrounds_it() {
    let archive = Archive::encrypted();
    let server = Server::new();
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB);
         CREATE TABLE shop.carts (id INT PRIMARY KEY)",
    );
    server.flush_logs();
    server.sql("INSERT INTO shop.orders (v) VALUES (REPEAT('x', 3000000)), ('a'); INSERT INTO shop.carts VALUES (1)");
    server.sql("INSERT INTO shop.orders (v) VALUES ('b')");
    server.flush_logs();
    server.sql("INSERT INTO shop.carts VALUES (2)");
    server.sql("DROP TABLE shop.orders");
    server.sql("INSERT INTO shop.carts VALUES (3)");
    server.flush_logs();
    archive.archive(&server.index_file());

    let (ddl, incomplete) = found(&archive, &["--ddl"], 0);
    assert!(incomplete.is_empty());
    let sql: Vec<&str> = ddl.iter().map(|one| text(one, "sql")).collect();
    assert_eq!(sql.len(), 4, "{sql:?}");
    let drop = ddl.last().expect("four");
    assert!(text(drop, "sql").starts_with("DROP TABLE"), "{drop}");
    // It is what locate says of the same GTID.
    let located = archive.output(&[
        "locate",
        &archive.url(),
        "--gtid",
        text(drop, "gtid"),
        "--json",
    ]);
    let located: Value = serde_json::from_slice(&located.stdout).expect("JSON");
    assert_eq!(located["position"], drop["position"]);
    assert_eq!(located["file"], drop["file"]);
    assert_eq!(located["transaction"]["committed_at"], drop["time"]);
    let (one, _) = found(&archive, &["--gtid", text(drop, "gtid")], 0);
    let what: Vec<&str> = one.iter().map(|one| text(one, "what")).collect();
    assert_eq!(what, ["transaction", "ddl"]);
    // A part of the time, and a part between two places.
    let (some, _) = found(&archive, &["--ddl", "--from", text(drop, "time")], 0);
    assert_eq!(some.len(), 1);
    let (none, _) = found(&archive, &["--ddl", "--to", "2001-01-01T00:00:00Z"], 0);
    assert!(none.is_empty());
    let (create, second) = (text(&ddl[1], "gtid"), text(&ddl[2], "gtid"));
    let (between, _) = found(&archive, &["--ddl", "--between", create, second], 0);
    assert_eq!(between, ddl[1..2]);

    let files = |table: &str| -> Vec<String> {
        let (found, _) = found(&archive, &["--table", table], 0);
        found
            .iter()
            .map(|one| text(one, "file").to_owned())
            .collect()
    };
    let all: Vec<String> = archive
        .ls(&[])
        .iter()
        .map(|entry| text(entry, "name").to_owned())
        .collect();
    let last = all.len() - 1;
    assert_eq!(files("shop.orders"), all[last - 1..last]);
    assert_eq!(files("shop.carts"), all[last - 1..]);
    assert!(files("shop.nothing").is_empty());

    let (big, _) = found(&archive, &["--big-transactions"], 0);
    assert_eq!(big.len(), 1);
    assert!(big[0]["bytes"].as_u64().expect("a number") > 3_000_000);
    // For people, and for who asks for nothing or for what is not there.
    let table = tools::run_text(&mut archive.command(&["history", &archive.url(), "--ddl"]));
    assert!(
        table.contains("DROP TABLE") && table.contains(text(drop, "gtid")),
        "{table}"
    );
    assert_eq!(
        archive.output(&["history", &archive.url()]).status.code(),
        Some(2)
    );
    let unknown = format!("{}:99999", server.uuid());
    let output = archive.output(&["history", &archive.url(), "--gtid", &unknown]);
    assert_eq!(
        output.status.code(),
        Some(4),
        "{}",
        tools::excerpt(&output.stderr)
    );
    let refusal = archive.json("history", &["--gtid", &unknown], 4);
    assert_eq!(refusal["recoverable"], false);
    assert!(text(&refusal, "reason").contains(&unknown), "{refusal}");
}

#[test]
fn what_the_tail_does_not_know_is_marked_and_not_passed_over() {
    let archive = Archive::encrypted();
    let server = Server::new();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT); CREATE TABLE d.u (id INT)");
    server.flush_logs();
    // Which tables a statement touches is not in it; in rows it is.
    server.sql("SET SESSION binlog_format = STATEMENT; INSERT INTO d.t VALUES (1)");
    server.flush_logs();
    server.sql("INSERT INTO d.u VALUES (1)");
    server.flush_logs();
    archive.archive(&server.index_file());
    let files: Vec<String> = archive
        .ls(&[])
        .iter()
        .map(|entry| text(entry, "name").to_owned())
        .collect();
    let (touched, incomplete) = found(&archive, &["--table", "d.u"], 3);
    let named: Vec<&str> = touched.iter().map(|one| text(one, "file")).collect();
    assert!(named.contains(&files[2].as_str()), "{touched:?}");
    let is_marked = |file: &str| {
        let marks = incomplete.iter().filter_map(Value::as_str);
        marks
            .into_iter()
            .any(|mark| mark.starts_with(file) && mark.contains("not all of its tables"))
    };
    assert!(
        is_marked(&files[1]) && !is_marked(&files[2]),
        "{incomplete:?}"
    );
    // Of schema changes all is known.
    let (ddl, incomplete) = found(&archive, &["--ddl"], 0);
    assert_eq!((ddl.len(), incomplete.len()), (3, 0), "{ddl:?}");
}
