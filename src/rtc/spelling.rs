//! Names in another case. A server name is the same in any case. What stands before it is not, but
//! all that servers give out today is in lower case.

/// The ways in which a name may be known: as it is, with its server in lower case, and all of it in
/// lower case.
#[must_use]
pub fn spellings_of_name(name: &str) -> Vec<String> {
    let of_server = match name.split_once(':') {
        Some((own, server)) if name.starts_with(['@', '#']) => {
            format!("{own}:{}", server.to_lowercase())
        }
        _ => name.to_owned(),
    };

    let mut spellings = vec![name.to_owned(), of_server, name.to_lowercase()];
    spellings.dedup();

    spellings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_as_it_is_comes_first_and_none_comes_twice() {
        for (name, spellings) in [
            ("@ann:a.org", &["@ann:a.org"][..]),
            (
                "@Ann:A.org:80",
                &["@Ann:A.org:80", "@Ann:a.org:80", "@ann:a.org:80"],
            ),
            ("@ann:A.org", &["@ann:A.org", "@ann:a.org"]),
            ("#Room:a.org", &["#Room:a.org", "#room:a.org"]),
            ("A.org:80", &["A.org:80", "a.org:80"]),
            ("", &[""]),
        ] {
            assert_eq!(spellings_of_name(name), spellings, "{name}");
        }
    }
}
