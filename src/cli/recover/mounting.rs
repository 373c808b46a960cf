//! The mount that the server's applier reads from.

use super::super::Global;
use crate::model::StoreUrl;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The command that mounts `url` for the server: with the keys and the cache of this one.
pub fn mount_command(global: &Global, url: &StoreUrl, dir: &Path, owner: Option<u32>) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("binlogfs"));
    let mut command = Command::new(program);
    command.arg("mount").arg(url.to_string()).arg(dir);
    // Each file is read once, from its beginning to its end: nothing is kept on disk for a second time.
    let mut options = "cache_size=0".to_owned();
    if let Some(uid) = owner {
        options += &format!(",uid={uid},mode=0400");
    }
    // Our own account needs no leave, and may not have it.
    let we = rustix::process::geteuid();
    if we.is_root() || owner != Some(we.as_raw()) {
        options += ",allow_other";
    }
    command.args(["-o", &options]);
    for identity in &global.identity {
        command.arg("--identity").arg(identity);
    }
    if let Some(cache_dir) = &global.cache_dir {
        command.arg("--cache-dir").arg(cache_dir);
    }
    command
}
