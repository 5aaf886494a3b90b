//! Whom TLS trusts: the authorities of the system, or those built in where the system has none.

use reqwest::{Certificate, ClientBuilder};
use std::sync::LazyLock;

/// Does the system have certificates of authorities? A bare system or a container from nothing
/// has none. Looked up once.
static HAS_AUTHORITIES: LazyLock<bool> = LazyLock::new(|| {
    let has_any = !rustls_native_certs::load_native_certs().certs.is_empty();
    if !has_any {
        tracing::info!(
            "this system has no certificates of authorities (the package ca-certificates), so \
             those of Mozilla that are built in are trusted"
        );
    }

    has_any
});

/// Lets this HTTP client trust the authorities of the system (`SSL_CERT_FILE` and `SSL_CERT_DIR`
/// count), or those of Mozilla's list as of the build if the system has none.
#[must_use]
pub fn trust_authorities(builder: ClientBuilder) -> ClientBuilder {
    if *HAS_AUTHORITIES {
        return builder;
    }

    builder.tls_certs_merge(read_built_in())
}

/// The authorities that are built in.
fn read_built_in() -> Vec<Certificate> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|certificate| Certificate::from_der(certificate).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_built_in_can_be_read_and_trusted() {
        let built_in = read_built_in();
        assert_eq!(
            built_in.len(),
            webpki_root_certs::TLS_SERVER_ROOT_CERTS.len()
        );
        assert!(built_in.len() > 50);

        let client = ClientBuilder::new().tls_certs_only(built_in).build();
        assert!(client.is_ok());
    }
}
