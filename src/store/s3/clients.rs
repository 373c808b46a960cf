//! The client of a bucket, made anew when its credentials have expired.
//!
//! The SDK keeps credentials until the time that they themselves name, and what reads them from a file keeps the file. When the
//! server says that they have expired all the same, everything is looked up again for the next request.

use super::connect::{Connected, Options, connect};
use crate::store::Result;
use aws_sdk_s3::Client;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Mutex;

pub(super) struct Clients {
    options: Options,
    /// Whether requests are encrypted on the way.
    pub(super) tls: bool,
    current: Mutex<Client>,
    expired: AtomicBool,
}

impl Clients {
    /// Makes the first. Errors as [`connect`].
    pub(super) async fn connect(options: Options, name: &str) -> Result<Clients> {
        let Connected { client, tls } = connect(&options, name).await?;
        Ok(Clients {
            options,
            tls,
            current: Mutex::new(client),
            expired: AtomicBool::new(false),
        })
    }

    /// The client for the next request.
    pub(super) async fn get(&self, name: &str) -> Result<Client> {
        // Whoever comes while a new one is made waits for it.
        let mut current = self.current.lock().await;
        if self.expired.swap(false, Ordering::AcqRel) {
            match connect(&self.options, name).await {
                Ok(connected) => *current = connected.client,
                Err(error) => {
                    self.expire();
                    return Err(error);
                }
            }
        }
        Ok(current.clone())
    }

    /// The server says that the credentials have expired.
    pub(super) fn expire(&self) {
        self.expired.store(true, Ordering::Release);
    }
}
