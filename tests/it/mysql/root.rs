//! The root directory MySQL lies in, and its programs, each run through that root's own loader.

use crate::tools;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// `mysqlbinlog` of the same version as the server, reading no option files, in UTC; run it by [`tools::run`] or [`tools::output`].
pub fn mysqlbinlog() -> Command {
    let mut command = program("mysqlbinlog");
    command
        .arg("--no-defaults")
        .arg(format!("--character-sets-dir={}", share("charsets")))
        .env("TZ", "UTC");
    command
}

/// A client program of the MySQL root (`mysql`, `mysqldump`, ...), run through its loader.
pub fn program(name: &str) -> Command {
    let mut loader = loader(mysql_root()).into_iter();
    let mut command = Command::new(loader.next().expect("the loader is the first word"));
    command
        .args(loader)
        .arg(mysql_root().join("usr/bin").join(name));
    command
}

/// The server's program, run through its loader.
pub(super) fn mysqld() -> Command {
    let mut command = Command::new(&loader(mysql_root())[0]);
    command
        .args(&loader(mysql_root())[1..])
        .arg(mysql_root().join("usr/sbin/mysqld"));
    command
}

/// The root directory with MySQL 9.
pub fn mysql_root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = std::env::var_os("BINLOGFS_MYSQL_ROOT")
            .map_or_else(|| tools::cache_dir().join("mysql-root"), PathBuf::from);
        assert!(
            root.join("usr/sbin/mysqld").exists(),
            "no MySQL server in {}: run the tests by 'scripts/test', which fetches one",
            root.display()
        );
        root
    })
}

/// The words before a program of the root directory at `root`.
pub(super) fn loader(root: &Path) -> [std::ffi::OsString; 3] {
    let root = root.display();
    [
        format!("{root}/lib64/ld-linux-x86-64.so.2").into(),
        "--library-path".into(),
        format!("{root}/usr/lib/x86_64-linux-gnu:{root}/usr/lib/mysql/private").into(),
    ]
}

/// A path below the MySQL root's shared files, such as `charsets`.
pub fn share(part: &str) -> String {
    share_of(mysql_root(), part)
}

fn share_of(root: &Path, part: &str) -> String {
    format!("{}/usr/share/mysql/{part}", root.display())
}

/// The root directory, bound to a place of its own, where accounts find it that may not go where the cache is.
pub(super) struct BoundRoot(PathBuf);

impl BoundRoot {
    /// Binds it to `dir`, which is made.
    pub(super) fn at(dir: PathBuf) -> BoundRoot {
        std::fs::create_dir(&dir).expect("the directory is ours");
        // Read-only: whoever removes the directory while it is bound removes nothing of the cache.
        tools::run(
            Command::new("mount")
                .args(["-o", "bind,ro"])
                .args([mysql_root(), &dir]),
        );
        BoundRoot(dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for BoundRoot {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg(&self.0).status();
        if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("{} stays mounted: {ended:?}", self.0.display());
        }
    }
}

/// A program at `path` that is this mysqld: for who starts servers of his own, with options that begin with `--no-defaults`.
pub fn mysqld_wrapper(path: &Path) -> PathBuf {
    let words = loader(mysql_root()).map(|word| word.into_string().expect("text"));
    let given = ["--no-defaults", "--user=", "--datadir="];
    let parts = base_arguments(mysql_root(), Path::new("/unused"))
        .into_iter()
        .filter(|argument| !given.iter().any(|given| argument.starts_with(given)));
    let script = format!(
        "#!/bin/sh\nexec '{}' '{}/usr/sbin/mysqld' \"$@\" '{}'\n",
        words.join("' '"),
        mysql_root().display(),
        parts.collect::<Vec<_>>().join("' '")
    );
    tools::write_program(path, &script);
    path.to_owned()
}

/// What every mysqld of ours is told: where its parts are, and to be small and quick.
pub(super) fn base_arguments(root: &Path, datadir: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "--no-defaults",
        "--user=root",
        "--innodb-buffer-pool-size=48M",
        "--innodb-redo-log-capacity=8M",
        // Written at each commit, never synced: a killed process loses nothing. With 0 it would.
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-flush-method=nosync",
        "--innodb-doublewrite=OFF",
        "--innodb-use-native-aio=OFF",
        "--innodb-log-writer-threads=OFF",
        "--innodb-page-cleaners=1",
        "--innodb-purge-threads=1",
        "--innodb-read-io-threads=1",
        "--innodb-write-io-threads=1",
        "--sync-binlog=0",
        "--performance-schema=OFF",
        "--event-scheduler=OFF",
        "--max-allowed-packet=256M",
        // The default is refused because the compiled-in directory is not there.
        "--secure-file-priv=",
    ]
    .map(str::to_owned)
    .into();
    let share = |part| share_of(root, part);
    let at = root.display();
    arguments.push(format!("--basedir={at}/usr"));
    arguments.push(format!("--datadir={}", datadir.display()));
    arguments.push(format!(
        "--lc-messages-dir={}",
        share("").trim_end_matches('/')
    ));
    arguments.push(format!("--character-sets-dir={}", share("charsets")));
    arguments.push(format!("--plugin-dir={at}/usr/lib/mysql/plugin"));
    arguments
}
