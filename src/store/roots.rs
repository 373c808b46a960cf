//! The root certificates of this host, without which no server can prove who it is.

/// Why there are none to check a server's certificate with (Debian: ca-certificates; or SSL_CERT_FILE), if so.
pub(super) fn missing() -> Option<String> {
    let roots = rustls_native_certs::load_native_certs();
    if !roots.certs.is_empty() {
        return None;
    }
    let errors: Vec<String> = roots.errors.iter().map(ToString::to_string).collect();
    Some(format!(
        "this host has no root certificates to check a server's with: install the package ca-certificates, or name a file of \
         them in SSL_CERT_FILE{}{}",
        if errors.is_empty() { "" } else { ": " },
        errors.join("; ")
    ))
}
