//! The signals that end a command that stays.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// SIGTERM, SIGINT and SIGHUP.
pub struct Signals([Signal; 3]);

impl Signals {
    /// Listens from now on: what comes before that ends the process on the spot. So call it before anybody can think that the
    /// process is up.
    ///
    /// # Errors
    /// When the signals cannot be waited for.
    pub fn listen() -> std::io::Result<Signals> {
        Ok(Signals([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]))
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

    /// Waits for one of them.
    pub async fn any(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
