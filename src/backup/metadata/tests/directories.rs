//! Directories of all tools.

use super::super::super::Tool;
use super::*;

#[test]
fn directories_of_all_tools_tell_the_same_place() {
    let gtids = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:5,{U}:1-3");
    let my_cnf = format!("[mysqld]\nserver_id=1\nserver_uuid={U}\n");
    let kinds: [(Files<'_>, Tool); 6] = [
        (&[("metadata", MYDUMPER_OLD.as_bytes())], Tool::Mydumper),
        (&[("metadata", MYDUMPER_NEW.as_bytes())], Tool::Mydumper),
        (
            &[("@.json", SHELL.as_bytes()), ("@.done.json", b"{}")],
            Tool::MysqlShell,
        ),
        (
            &[
                ("xtrabackup_binlog_info", BINLOG_INFO.as_bytes()),
                ("backup-my.cnf", my_cnf.as_bytes()),
            ],
            Tool::Xtrabackup,
        ),
        (
            &[
                ("mariadb_backup_binlog_info", BINLOG_INFO.as_bytes()),
                ("mariadb_backup_info", INFO.as_bytes()),
            ],
            Tool::MariadbBackup,
        ),
        (&[("#clone/#view_status", CLONED.as_bytes())], Tool::Clone),
    ];
    for (files, tool) in kinds {
        let dir = dir(files);
        let found = read(dir.path()).expect("reads");
        assert_eq!(place(&found), both(&gtids, "binlog.000001:926"), "{tool:?}");
        assert_eq!(found.tool, tool);
        // The file itself names the same.
        assert_eq!(read(&dir.path().join(files[0].0)), Ok(found.clone()));
        let uuid = found.server_uuid.map(|uuid| uuid.to_string());
        assert_eq!(uuid.is_some(), tool == Tool::Xtrabackup);
    }
    // As it stands after the first start where performance_schema is off.
    let view = "2 1\n1795698300340586 1795698300803484\nLOCAL INSTANCE\n0\n\n\n0\n\n";
    let recovery = CLONED.split_once("0\n\n").expect("it has one").1;
    let recovery = format!("1795698301149935\n1795698301954503\n{recovery}");
    let clone = dir(&[
        ("#clone/#view_status", view.as_bytes()),
        ("#clone/#status_recovery", recovery.as_bytes()),
    ]);
    let found = read(clone.path()).expect("reads");
    assert_eq!(place(&found), both(&gtids, "binlog.000001:926"));
    let clone = dir(&[("#clone/#view_status", CLONED.as_bytes())]);
    let taken = read(clone.path()).expect("reads").taken_at;
    assert_eq!(
        taken.expect("known").to_string(),
        "2026-11-26T12:33:04.772462Z"
    );
}
