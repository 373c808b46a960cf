//! The mount that the server's applier reads from.

use super::super::Global;
use crate::model::StoreUrl;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The command that mounts `url` for the server: with the keys, the copies and the cache of this one.
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
    for replica in &global.replica {
        command.arg("--replica").arg(replica.to_string());
    }
    if let Some(cache_dir) = &global.cache_dir {
        command.arg("--cache-dir").arg(cache_dir);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::LogFormat;

    #[test]
    fn the_mount_reads_what_the_command_was_told_to_read() {
        let url = |text: &str| -> StoreUrl { text.parse().expect("a URL") };
        let replicas = ["file:///srv/copy", "s3://copies/orders"].map(url);
        let global = Global {
            json: true,
            identity: vec!["key.txt".into()],
            replica: replicas.to_vec(),
            state_dir: None,
            cache_dir: Some("/srv/cache".into()),
            verbose: 0,
            log_format: LogFormat::default(),
        };
        let stream = url("file:///srv/binlogs/orders");
        let command = mount_command(&global, &stream, Path::new("/mnt"), None);
        let words: Vec<String> = command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let given = |option: &str| -> Vec<String> {
            let pairs = words.windows(2).filter(|pair| pair[0] == option);
            pairs.map(|pair| pair[1].clone()).collect()
        };
        assert_eq!(given("--replica"), replicas.map(|url| url.to_string()));
        assert_eq!(given("--identity"), ["key.txt"]);
        assert_eq!(given("--cache-dir"), ["/srv/cache"]);
    }
}
