//! A mount namespace of a test's own, in which `/sbin/mount.binlogfs` is the program under test: mount(8) finds it, and no other
//! test, and nothing outside, sees what is mounted.

use crate::tools;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The namespace, kept by a process that does nothing else.
pub struct Namespace {
    keeper: Child,
    temp: tempfile::TempDir,
}

impl Namespace {
    pub fn new() -> Namespace {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let (real, sbin) = (temp.path().join("real"), temp.path().join("sbin"));
        for dir in [&real, &sbin] {
            fs::create_dir(dir).expect("the temporary directory is writable");
        }
        for name in ["mount.binlogfs", "mount.fuse.binlogfs"] {
            symlink(env!("CARGO_BIN_EXE_binlogfs"), sbin.join(name)).expect("links");
        }
        for entry in fs::read_dir("/sbin").expect("there") {
            let name = entry.expect("an entry").file_name();
            // One that is installed here is not the one under test.
            if !sbin.join(&name).is_symlink() {
                symlink(real.join(&name), sbin.join(&name)).expect("links");
            }
        }
        let script = format!(
            "mount --bind /sbin/ {real} && mount --bind {sbin} /sbin/ && echo made && exec sleep 600",
            real = real.display(),
            sbin = sbin.display()
        );
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs: util-linux");
        let mut made = [0; 5];
        let stdout = keeper.stdout.as_mut().expect("piped");
        stdout.read_exact(&mut made).expect("the namespace is made");
        Namespace { keeper, temp }
    }

    /// The id of a process in it.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// A path below its temporary directory, which is the same inside and outside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// How a path inside is seen from outside.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let below = path.strip_prefix("/").expect("absolute");
        PathBuf::from(format!("/proc/{}/root", self.pid())).join(below)
    }

    /// A command inside, not run yet, without the test's environment but for what finds programs.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--target", &self.pid().to_string(), "--"])
            .arg(program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("PATH is set"));
        command
    }

    /// The program under test, where every account finds it: where the tests are built, only root may go.
    pub fn program(&self) -> PathBuf {
        let program = self.path("binlogfs");
        if !program.exists() {
            if fs::hard_link(env!("CARGO_BIN_EXE_binlogfs"), &program).is_err() {
                fs::copy(env!("CARGO_BIN_EXE_binlogfs"), &program).expect("copies");
            }
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(self.temp.path(), mode).expect("ours");
        }
        program
    }

    /// Everybody may open `/dev/fuse` on a usual host; not in every container, but here.
    pub fn open_device(&self) {
        let dir = self.path("dev");
        fs::create_dir(&dir).expect("creates");
        let script = "mount -t tmpfs none $0 && mknod -m 666 $0/fuse c 10 229 && mount --bind $0/fuse /dev/fuse";
        tools::run(self.command("sh").args(["-c", script]).arg(&dir));
    }

    /// A command inside, as an account that may do nothing else.
    pub fn command_as(&self, account: u32, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("setpriv");
        let account = account.to_string();
        command
            .args(["--reuid", &account, "--regid", &account, "--clear-groups"])
            .args(["--inh-caps=-all", "--"])
            .arg(program)
            .envs(crate::s3::credentials());
        command
    }

    /// What is mounted inside at or below `path`.
    pub fn mounts_below(&self, path: &Path) -> Vec<PathBuf> {
        let table = fs::read(format!("/proc/{}/mountinfo", self.pid())).expect("it is alive");
        let mounts = binlogfs::fs::mountinfo::parse(&table).into_iter();
        let points = mounts.map(|mount| mount.mount_point);
        points.filter(|point| point.starts_with(path)).collect()
    }

    /// The lines of mountinfo about `path`, from the lowest mount to the uppermost.
    pub fn mounts_at(&self, path: &Path) -> Vec<binlogfs::fs::mountinfo::Mount> {
        let table = fs::read(format!("/proc/{}/mountinfo", self.pid())).expect("it is alive");
        let mut mounts = binlogfs::fs::mountinfo::parse(&table);
        mounts.retain(|mount| mount.mount_point == path);
        mounts
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A mount that is left would keep its process, and with it the namespace.
        let mut left = tools::output(self.command("umount").args([
            "--lazy",
            "--all",
            "--types",
            "fuse.binlogfs",
        ]));
        left.stderr.clear();
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
