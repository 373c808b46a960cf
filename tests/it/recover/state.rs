//! All that a server holds, to be compared with what another holds.

use crate::mysql::Server;
use binlogfs::model::GtidSet;

/// Schemas that are the server's own.
const OWN_SCHEMAS: &str = "('mysql', 'sys', 'information_schema', 'performance_schema')";

/// What was executed, the tables' content, the definitions of everything, and the accounts.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub executed: String,
    pub checksums: Vec<Vec<String>>,
    pub definitions: Vec<Vec<String>>,
    pub accounts: Vec<Vec<String>>,
}

impl State {
    /// That of a server at which nobody writes.
    pub fn of(server: &Server) -> State {
        State {
            executed: executed(server),
            checksums: checksums(server),
            definitions: definitions(server),
            accounts: accounts(server),
        }
    }
}

/// `gtid_executed`, in one line.
pub fn executed(server: &Server) -> String {
    let set = server.sql_value("SELECT @@GLOBAL.gtid_executed");
    set.split_whitespace().collect()
}

/// A set as its GTIDs.
pub fn gtids(set: &str) -> GtidSet {
    set.parse().expect("a GTID set")
}

/// Quoted names of all tables of users.
fn tables(server: &Server) -> Vec<String> {
    let rows = server.sql(&format!(
        "SELECT CONCAT('`', REPLACE(table_schema, '`', '``'), '`.`', REPLACE(table_name, '`', '``'), '`')
         FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema NOT IN {OWN_SCHEMAS} ORDER BY 1"
    ));
    rows.concat()
}

fn checksums(server: &Server) -> Vec<Vec<String>> {
    let tables = tables(server);
    if tables.is_empty() {
        return Vec::new();
    }
    server.sql(&format!("CHECKSUM TABLE {} EXTENDED", tables.join(", ")))
}

/// Of schemas, tables, views, routines, triggers and events. Whether an event runs is another matter: that is told by [`events`].
fn definitions(server: &Server) -> Vec<Vec<String>> {
    let mut queries = format!(
        "SELECT schema_name, default_character_set_name, default_collation_name FROM information_schema.schemata
           WHERE schema_name NOT IN {OWN_SCHEMAS} ORDER BY 1;
         SELECT table_schema, table_name, view_definition, definer FROM information_schema.views
           WHERE table_schema NOT IN {OWN_SCHEMAS} ORDER BY 1, 2;
         SELECT routine_schema, routine_name, routine_type, routine_definition, definer, sql_mode FROM information_schema.routines
           WHERE routine_schema NOT IN {OWN_SCHEMAS} ORDER BY 1, 2;
         SELECT trigger_schema, trigger_name, event_manipulation, action_timing, action_statement, definer
           FROM information_schema.triggers WHERE trigger_schema NOT IN {OWN_SCHEMAS} ORDER BY 1, 2;
         SELECT event_schema, event_name, event_definition, interval_value, interval_field, starts, definer
           FROM information_schema.events ORDER BY 1, 2;"
    );
    for table in tables(server) {
        queries += &format!("SHOW CREATE TABLE {table};");
    }
    let mut rows = server.sql(&queries);
    for field in rows.iter_mut().flatten() {
        *field = without_counter(field);
    }
    rows
}

/// An INSERT that fails, or inserts an unknown number of rows, moves the source's AUTO_INCREMENT and is not replicated as such.
fn without_counter(definition: &str) -> String {
    match definition.split_once(" AUTO_INCREMENT=") {
        Some((before, after)) => {
            before.to_owned() + after.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        None => definition.to_owned(),
    }
}

/// Names of events, and whether they run.
pub fn events(server: &Server) -> Vec<Vec<String>> {
    server
        .sql("SELECT event_schema, event_name, status FROM information_schema.events ORDER BY 1, 2")
}

/// Users and roles, how they log in, and what they may do.
fn accounts(server: &Server) -> Vec<Vec<String>> {
    let query = "SELECT user, host, plugin, HEX(authentication_string), account_locked, password_lifetime FROM mysql.user ORDER BY 1, 2";
    let mut rows = server.sql(query);
    let grants: String = rows
        .iter()
        .map(|row| format!("SHOW GRANTS FOR '{}'@'{}';", row[0], row[1]))
        .collect();
    rows.extend(server.sql(&grants));
    rows
}
