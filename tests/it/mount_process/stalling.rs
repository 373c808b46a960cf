//! A mount whose store stops answering while it is read, and which is ended then.

use super::archived;
use super::foreground::{Foreground, mounts_at};
use crate::s3::{self, server::S3Server};
use crate::tools;
use rustix::process::Signal;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Passes connections on, until it is told to pass nothing on any more.
struct Stalling {
    endpoint: String,
    stalls: Arc<AtomicBool>,
}

impl Stalling {
    fn before(server: &S3Server) -> Stalling {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let target = server.endpoint().replace("http://", "");
        let stalls = Arc::new(AtomicBool::new(false));
        let stalling = Arc::clone(&stalls);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&target).expect("the server listens");
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("settable");
                }
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone(), to.try_clone());
                    let (from, to) = (from.expect("clones"), to.expect("clones"));
                    let stalling = Arc::clone(&stalling);
                    std::thread::spawn(move || pass_on(from, to, &stalling));
                }
            }
        });
        Stalling { endpoint, stalls }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, stalls: &AtomicBool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        while stalls.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn sigterm_fails_reads_on_their_way_with_eio_and_ends_with_0() {
    let (archive, server) = archived();
    let store = S3Server::start(&archive.path("stalling"));
    let prefix = "prod/orders";
    let mut command = archive.archive_command_to(&store.url(prefix), server.dir());
    tools::run(
        command
            .arg("--state-dir")
            .arg(archive.path("stalling-state")),
    );
    let proxy = Stalling::before(&store);
    let url = s3::server::url(&proxy.endpoint, prefix);
    let mut mounted = Foreground::start(&archive, &url, &[]);
    let file = File::open(mounted.file()).expect("opens");
    proxy.stalls.store(true, Ordering::SeqCst);
    let reading = std::thread::spawn(move || file.read_at(&mut [0; 100], 0));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!reading.is_finished(), "the store does not answer");
    let begun = Instant::now();
    mounted.signal(Signal::TERM);
    let error = reading.join().expect("runs").expect_err("fails");
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    let (code, said) = mounted.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert!(mounts_at(&mounted.dir).is_empty());
}
