//! The initialised data directory that servers begin with a copy of.

use super::root::{base_arguments, mysql_root, mysqld, mysqld_wrapper};
use crate::tools;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Change when the template's making changes.
const TEMPLATE_VERSION: u32 = 1;

/// Copies the template to `datadir`, which must not exist.
pub(super) fn copy_to(datadir: &Path) {
    copy_tree(template(), datadir);
}

/// Like [`mysqld_wrapper`], but what it is told to initialise is a copy of the template, which is there sooner.
pub fn copying_wrapper(path: &Path) -> PathBuf {
    let own = mysqld_wrapper(&path.with_extension("own"));
    let script = format!(
        "#!/bin/sh\ncopied=\nfor word; do\n    case \"$word\" in\n    --datadir=*) datadir=\"${{word#--datadir=}}\" ;;\n    \
         --initialize-insecure) copied=yes ;;\n    esac\ndone\n[ -z \"$copied\" ] || exec cp -a '{}/.' \"$datadir\"\n\
         exec '{}' \"$@\"\n",
        template().display(),
        own.display()
    );
    tools::write_program(path, &script);
    path.to_owned()
}

/// The initialised data directory that servers start from, made by whoever needs it first.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let version = version_of(&mut mysqld());
        let name = format!("mysql-template-{version}-{TEMPLATE_VERSION}");
        tools::make_once(&tools::cache_dir().join(name), make_template)
    })
}

/// The version that a server program tells.
pub fn version_of(server: &mut Command) -> String {
    let told = tools::run_text(server.args(["--no-defaults", "--version"]));
    let mut words = told.split_whitespace().skip_while(|word| *word != "Ver");
    words.nth(1).expect("it tells its version").to_owned()
}

fn make_template(datadir: &Path) {
    tools::run(
        mysqld()
            .args(base_arguments(mysql_root(), datadir))
            .args(["--initialize-insecure", "--skip-log-bin"]),
    );
    // Each copy is a server of its own: it draws a UUID at its first start.
    let _ = fs::remove_file(datadir.join("auto.cnf"));
}

/// Copies the directory `from`, with all that is in it, to `to`, which must not exist.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let entry = entry.expect("the template can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("an entry has a type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap_or_else(|e| panic!("{}: {e}", target.display()));
        }
    }
}
