//! The initialised data directory that MariaDB servers begin with a copy of: making one takes longer than the rest of a start.

use crate::mysql::{copy_tree, version_of};
use crate::tools;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Change when the template's making changes.
const TEMPLATE_VERSION: u32 = 1;

/// Copies the template to `datadir`, which must not exist.
pub(super) fn copy_to(datadir: &Path) {
    copy_tree(template(), datadir);
}

/// The template of the installed version, made by whoever needs it first.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let version = version_of(&mut Command::new("mariadbd"));
        let name = format!("mariadb-template-{version}-{TEMPLATE_VERSION}");
        tools::make_once(&tools::cache_dir().join(name), make_template)
    })
}

fn make_template(datadir: &Path) {
    let temp = tempfile::tempdir().expect("a temporary directory");
    tools::run(
        Command::new("mariadb-install-db")
            // Two at once take each other's temporary tables away where they share a directory.
            .env("TMPDIR", temp.path())
            .args(["--no-defaults", "--user=root", "--skip-test-db"])
            .args([
                "--auth-root-authentication-method=normal",
                "--innodb-log-file-size=4M",
            ])
            .arg(format!("--datadir={}", datadir.display())),
    );
}
