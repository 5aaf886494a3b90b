//! Whom TLS trusts: the authorities of the system, or those built in where the system has none.

use reqwest::{Certificate, ClientBuilder};
use std::sync::LazyLock;

/// The variables by which an operator says whom to trust.
const CHOICES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Are the authorities that are built in trusted? Looked up once.
static IS_BARE: LazyLock<bool> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    let has_choice = CHOICES.iter().any(|name| std::env::var_os(name).is_some());
    let is_bare = is_bare_system(found.certs.len(), found.errors.len(), has_choice);
    if is_bare {
        tracing::info!(
            "this system has no certificates of authorities (the package ca-certificates), so \
             those of Mozilla that are built in are trusted"
        );
    }

    is_bare
});

/// Does the system have no authorities at all? A bare system or a container from nothing has none.
/// Certificates that cannot be read, or that somebody chose, are never replaced.
fn is_bare_system(found: usize, faults: usize, has_choice: bool) -> bool {
    found == 0 && faults == 0 && !has_choice
}

/// Lets this HTTP client trust the authorities of the system (`SSL_CERT_FILE` and `SSL_CERT_DIR`
/// count), or those of Mozilla's list as of the build if the system has none.
pub fn trust_authorities(builder: ClientBuilder) -> ClientBuilder {
    if *IS_BARE {
        builder.tls_certs_merge(read_built_in())
    } else {
        builder
    }
}

/// Why an HTTP client could not be set up, and what to do if no authority can be read.
pub fn describe_setup_failure(error: &reqwest::Error) -> String {
    let found = rustls_native_certs::load_native_certs();
    let choices = CHOICES.map(|name| (name, std::env::var_os(name)));
    let chosen: Vec<String> = choices
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value?.display())))
        .collect();

    words_of_setup_failure(&error.to_string(), found.certs.len(), &chosen)
}

/// The words for it: `found` is how many authorities can be read, `chosen` has the variables that say
/// where they are.
fn words_of_setup_failure(error: &str, found: usize, chosen: &[String]) -> String {
    if found > 0 {
        return format!("the HTTP client could not be set up: {error}");
    }

    let remedy = if chosen.is_empty() {
        "install the package ca-certificates".to_owned()
    } else {
        format!(
            "there is none at {}: unset it, or install the package ca-certificates",
            chosen.join(" and ")
        )
    };

    format!("no certificate of an authority can be read, so no server can be trusted; {remedy}")
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
    fn only_a_bare_system_gets_those_built_in() {
        assert!(is_bare_system(0, 0, false));
        assert!(!is_bare_system(1, 0, false));
        assert!(!is_bare_system(0, 1, false), "they cannot be read");
        assert!(!is_bare_system(0, 0, true), "somebody chose others");
    }

    #[test]
    fn a_choice_that_leads_nowhere_is_named() {
        let chosen = ["SSL_CERT_FILE=/gone.pem".to_owned()];
        let words = words_of_setup_failure("builder error", 0, &chosen);
        assert!(
            words.ends_with(
                "there is none at SSL_CERT_FILE=/gone.pem: unset it, or install the package \
                 ca-certificates"
            ),
            "{words}"
        );
        assert!(
            words_of_setup_failure("builder error", 0, &[])
                .ends_with("install the package ca-certificates")
        );
        assert!(words_of_setup_failure("builder error", 9, &chosen).ends_with("up: builder error"));
    }

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
