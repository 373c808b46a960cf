//! Connections: where to, protected how.

use super::error::ServerError;
use super::options::{Place, ServerOptions, TlsMode};
use mysql_async::{Conn, DriverError, Error, Opts, OptsBuilder, SslOpts};
use std::time::Duration;

/// Tells within minutes that the other end of an idle connection is gone.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// The largest answer: a GTID set of half a million intervals, or a hundred thousand files.
const ANSWER_MAX_BYTES: usize = 16 << 20;
/// The library asks the server for it otherwise; only its pool, which is not used here, cares.
const UNUSED_WAIT_TIMEOUT_SECONDS: usize = 28_800;
/// Shows in the server's list of connections.
const PROGRAM: &str = "binlogfs";

/// Connects and logs in. How long that may take is for the caller to say.
pub(super) async fn connect(options: &ServerOptions) -> Result<Conn, ServerError> {
    let place = options.place();
    let name = place.to_string();
    let failed = |e| ServerError::connect(&name, &e);
    let (tls, mode) = match &place {
        Place::Socket(_) => (None, TlsMode::Disabled),
        Place::Tcp { host, .. } => {
            let mode = options.tls_for(host);
            (tls(options, mode), mode)
        }
    };
    if tls.is_some() {
        // The process may have chosen one already: then it is that.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    match Conn::new(library_options(options, &place, tls)?).await {
        Err(Error::Driver(DriverError::NoClientSslFlagFromServer))
            if mode == TlsMode::Preferred =>
        {
            let clear = library_options(options, &place, None)?;
            Conn::new(clear).await.map_err(failed)
        }
        conn => conn.map_err(failed),
    }
}

fn tls(options: &ServerOptions, mode: TlsMode) -> Option<SslOpts> {
    let ssl = SslOpts::default();
    match mode {
        TlsMode::Disabled => None,
        TlsMode::Preferred | TlsMode::Required => Some(ssl.with_danger_accept_invalid_certs(true)),
        TlsMode::VerifyIdentity => Some(match &options.ca {
            Some(ca) => ssl
                .with_root_certs(vec![ca.clone().into()])
                .with_disable_built_in_roots(true),
            None => ssl,
        }),
    }
}

fn library_options(
    options: &ServerOptions,
    place: &Place,
    tls: Option<SslOpts>,
) -> Result<Opts, ServerError> {
    let user = options.account()?;
    let builder = OptsBuilder::default()
        .user(Some(user))
        .pass(options.password.as_ref().map(|p| p.reveal()))
        .ssl_opts(tls)
        // Where we were told, nowhere else.
        .prefer_socket(false)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .stmt_cache_size(0)
        .max_allowed_packet(Some(ANSWER_MAX_BYTES))
        .wait_timeout(Some(UNUSED_WAIT_TIMEOUT_SECONDS))
        .enable_cleartext_plugin(false)
        .connect_attribute("program_name", PROGRAM);
    Ok(match place {
        Place::Socket(path) => builder.socket(Some(path.to_string_lossy())),
        Place::Tcp { host, port } => builder.ip_or_hostname(host.as_str()).tcp_port(*port),
    }
    .into())
}
