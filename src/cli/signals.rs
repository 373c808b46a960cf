//! The signals that end a command that stays, or make it read its configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// SIGTERM, SIGINT and SIGHUP.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM, SIGINT: to end.
    End,
    /// SIGHUP: to read the configuration again, where there is one, else to end.
    Reload,
}

impl Signals {
    /// Listens from now on: what comes before that ends the process on the spot. So call it before anybody can think that the
    /// process is up.
    ///
    /// # Errors
    /// When the signals cannot be waited for.
    pub fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Listens from now on, beside what else the process does.
    ///
    /// # Errors
    /// As [`Signals::listen`].
    pub fn stop() -> std::io::Result<watch::Receiver<bool>> {
        let mut signals = Signals::listen()?;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            signals.any().await;
            stop.send_replace(true);
        });
        Ok(stopped)
    }

    /// Waits for one of them, whatever it asks for.
    pub async fn any(&mut self) {
        self.next().await;
    }

    /// Waits for one of them.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}
