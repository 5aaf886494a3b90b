//! Whose an SFU is, as far as that can be told from names and from what servers publish.

use super::transport::host_of_url;
use std::collections::BTreeSet;

/// The server that runs the SFU of this host: the one under whose name it is, the nearest if there
/// are several; else the only one that publishes it. `None` if nothing tells. `publishers` are the
/// servers that publish it.
#[must_use]
pub fn owner_of_sfu<'a>(
    host: &str,
    publishers: &BTreeSet<&'a str>,
    servers: &BTreeSet<&'a str>,
) -> Option<&'a str> {
    let named = servers
        .iter()
        .chain(publishers)
        .copied()
        .filter(|server| is_under(host, &host_of_url(server)))
        .max_by_key(|server| (host_of_url(server).len(), *server));

    named.or_else(|| {
        let only = publishers.first().filter(|_| publishers.len() == 1);
        only.copied()
    })
}

/// Is this host that of the server, or one below it?
fn is_under(host: &str, server: &str) -> bool {
    let is_name = server.contains('.') && !server.starts_with('[');
    let below = || {
        host.strip_suffix(server)
            .is_some_and(|rest| rest.ends_with('.'))
    };

    host == server || (is_name && below())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sfu_is_that_of_the_nearest_name_or_of_its_only_publisher() {
        let set =
            |names: &[&'static str]| -> BTreeSet<&'static str> { names.iter().copied().collect() };
        let servers = set(&["a.example", "b.a.example:8448", "c.example", "example"]);
        let owner = |host: &str, publishers: &[&'static str]| {
            owner_of_sfu(host, &set(publishers), &servers)
        };
        assert_eq!(owner("sfu.a.example", &[]), Some("a.example"));
        assert_eq!(owner("a.example", &[]), Some("a.example"));
        assert_eq!(owner("sfu.b.a.example", &[]), Some("b.a.example:8448"));
        assert_eq!(owner("nota.example", &[]), None, "only a whole name counts");
        assert_eq!(owner("sfu.cloud.net", &["c.example"]), Some("c.example"));
        assert_eq!(
            owner("sfu.cloud.net", &["a.example", "c.example"]),
            None,
            "one that several use is nobody's of them"
        );
        assert_eq!(
            owner("sfu.a.example", &["c.example"]),
            Some("a.example"),
            "its name says more"
        );
        assert_eq!(owner("10.1.2.3", &[]), None);
    }
}
