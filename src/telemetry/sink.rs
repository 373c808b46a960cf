//! Where a process without a terminal logs to: a file, or the system's log (syslog(3)'s socket, which journald has too).

use std::fs::File;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The system's log.
const SYSTEM_LOG: &str = "/dev/log";
/// Its facility `daemon` (RFC 5424, section 6.2.1).
const FACILITY_DAEMON: u8 = 3;
/// Longest line sent there: what a datagram is sure to hold.
const LINE_MAX_BYTES: usize = 8 << 10;

/// A destination of log lines. Its copies are one.
#[derive(Clone)]
pub struct Sink {
    place: Arc<Place>,
    /// Who waits for the process to be ready reads along.
    witness: Arc<Mutex<Option<File>>>,
}

enum Place {
    File(File),
    System {
        socket: PathBuf,
        connection: Mutex<Option<UnixDatagram>>,
    },
}

impl Sink {
    /// The file at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// As opening has them.
    pub fn file(path: &Path) -> io::Result<Sink> {
        let file = File::options().append(true).create(true).open(path)?;
        Ok(Sink::new(Place::File(file)))
    }

    /// The system's log. Where there is none, lines go nowhere.
    pub fn system() -> Sink {
        Sink::socket(Path::new(SYSTEM_LOG))
    }

    fn socket(socket: &Path) -> Sink {
        Sink::new(Place::System {
            socket: socket.to_owned(),
            connection: Mutex::new(None),
        })
    }

    fn new(place: Place) -> Sink {
        Sink {
            place: Arc::new(place),
            witness: Arc::default(),
        }
    }

    /// The same, with every line written to `witness` too, until [`Sink::dismiss`].
    #[must_use]
    pub fn with_witness(self, witness: File) -> Sink {
        *self.witness() = Some(witness);
        self
    }

    /// Whoever read along does so no longer.
    pub fn dismiss(&self) {
        *self.witness() = None;
    }

    /// Whether lines get their time where they go.
    pub fn is_timed(&self) -> bool {
        matches!(*self.place, Place::System { .. })
    }

    fn witness(&self) -> std::sync::MutexGuard<'_, Option<File>> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes one line.
pub struct Line<'s> {
    sink: &'s Sink,
    level: Level,
}

impl<'s> MakeWriter<'s> for Sink {
    type Writer = Line<'s>;

    fn make_writer(&'s self) -> Line<'s> {
        Line {
            sink: self,
            level: Level::INFO,
        }
    }

    fn make_writer_for(&'s self, meta: &Metadata<'_>) -> Line<'s> {
        Line {
            sink: self,
            level: *meta.level(),
        }
    }
}

impl io::Write for Line<'_> {
    /// A line that cannot be logged is lost: there is nobody to tell.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(witness) = &mut *self.sink.witness() {
            let _ = witness.write_all(line);
        }
        match &*self.sink.place {
            Place::File(file) => {
                let _ = (&mut &*file).write_all(line);
            }
            Place::System { socket, connection } => {
                let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                send(socket, &mut connection, &datagram(self.level, line));
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The severities of syslog(3).
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn datagram(level: Level, line: &[u8]) -> Vec<u8> {
    let priority = FACILITY_DAEMON * 8 + severity(level);
    let mut message = format!("<{priority}>binlogfs[{}]: ", std::process::id()).into_bytes();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    message.extend_from_slice(line.get(..LINE_MAX_BYTES).unwrap_or(line));
    message
}

/// Sends without waiting: a log that is full must not stop a reader. One that was started anew is connected anew.
fn send(socket: &Path, connection: &mut Option<UnixDatagram>, message: &[u8]) {
    for _ in 0..2 {
        if connection.is_none() {
            *connection = connect(socket).ok();
        }
        let Some(open) = connection else { return };
        match open.send(message) {
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => *connection = None,
        }
    }
}

fn connect(socket: &Path) -> io::Result<UnixDatagram> {
    let open = UnixDatagram::unbound()?;
    open.connect(socket)?;
    open.set_nonblocking(true)?;
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn write(sink: &Sink, level: Level, text: &str) {
        Line { sink, level }
            .write_all(text.as_bytes())
            .expect("never fails");
    }

    #[test]
    fn the_systems_log_gets_the_severity_and_is_found_again_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let sink = Sink::socket(&path);
        write(&sink, Level::ERROR, "lost: there is no log yet\n");
        for text in ["first", "second"] {
            let log = UnixDatagram::bind(&path).expect("binds");
            write(&sink, Level::ERROR, &format!("{text}\n"));
            let mut buffer = [0; 100];
            let len = log.recv(&mut buffer).expect("a line");
            let expected = format!("<27>binlogfs[{}]: {text}", std::process::id());
            assert_eq!(String::from_utf8_lossy(&buffer[..len]), expected);
            std::fs::remove_file(&path).expect("removes");
        }
    }

    #[test]
    fn a_witness_reads_along_until_it_is_dismissed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (log, seen) = (dir.path().join("log"), dir.path().join("seen"));
        let witness = File::create(&seen).expect("creates");
        let sink = Sink::file(&log).expect("opens").with_witness(witness);
        write(&sink, Level::WARN, "one\n");
        sink.dismiss();
        write(&sink, Level::WARN, "two\n");
        let text = |path: &Path| std::fs::read_to_string(path).expect("reads");
        assert_eq!(text(&log), "one\ntwo\n");
        assert_eq!(text(&seen), "one\n");
    }
}
