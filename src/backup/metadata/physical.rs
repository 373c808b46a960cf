//! What xtrabackup and mariadb-backup write beside the copied files. Pure.

use super::super::{Coordinates, Tool};
use super::problem::{BY_HAND, Problem, gtid_set, position};

/// `xtrabackup_binlog_info` or `mariadb_backup_binlog_info`: FILE, POS and a GTID set that may go on in further lines.
pub(super) fn binlog_info(text: &str) -> Result<Coordinates, Problem> {
    let mut coordinates = Coordinates::of(Tool::Xtrabackup);
    let mut fields = text.trim().splitn(3, '\t');
    let (Some(file), Some(offset)) = (fields.next(), fields.next()) else {
        return Err(Problem::new(
            "it does not have a file and a position, separated by a tab",
            format!("is it damaged? {BY_HAND}"),
        )
        .at(1));
    };
    coordinates.position = Some(position(file, offset).map_err(|p| p.at(1))?);
    let set = fields.next().unwrap_or_default().trim();
    if !set.is_empty() {
        coordinates.gtids = Some(gtid_set(set).map_err(|p| p.at(1))?);
    }
    Ok(coordinates)
}

/// `xtrabackup_info` or `mariadb_backup_info`: `name = value` lines.
pub(super) fn info(text: &str, coordinates: &mut Coordinates) {
    for (name, value) in text.lines().filter_map(|line| line.split_once(" = ")) {
        let value = value.trim();
        match name.trim() {
            "tool_name" if is_mariadb(value) => coordinates.tool = Tool::MariadbBackup,
            "tool_version" => coordinates.tool_version = Some(value.to_owned()),
            "server_version" if is_mariadb(value) => coordinates.tool = Tool::MariadbBackup,
            "end_time" => coordinates.local_time = Some(value.to_owned()),
            "partial" if value == "Y" => coordinates.warnings.push(
                "it is partial, and the binlogs hold changes of all tables: replay only what it has"
                    .to_owned(),
            ),
            "incremental" if value == "Y" => coordinates.warnings.push(
                "it is incremental: these are its coordinates once it is prepared onto its full backup".to_owned(),
            ),
            _ => {}
        }
    }
}

/// `backup-my.cnf`: xtrabackup notes the server's UUID there.
pub(super) fn my_cnf(text: &str, coordinates: &mut Coordinates) {
    let uuid = text
        .lines()
        .find_map(|line| line.strip_prefix("server_uuid="));
    coordinates.server_uuid = uuid.and_then(|uuid| uuid.trim().parse().ok());
}

fn is_mariadb(text: &str) -> bool {
    text.to_ascii_lowercase().contains("mariadb")
}
