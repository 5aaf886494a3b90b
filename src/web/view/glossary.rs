//! Words of the field that a page explains where they stand first. The sentences are those of
//! `docs/glossary.md`.

/// Each word with what it means.
const TERMS: [(&str, &str); 3] = [
    ("sfu", "Where media flows; its old name is focus."),
    (
        "sticky",
        "A message event that servers deliver to late joiners for up to an hour (MSC4354).",
    ),
    (
        "delayed",
        "An event that a homeserver sends later, unless told not to (MSC4140). Clients \
         leave one behind as their delayed leave.",
    ),
];

/// What a word means; empty if it is none of them.
#[must_use]
pub fn meaning_of_term(term: &str) -> &'static str {
    let found = TERMS.iter().find(|(known, _)| *known == term);
    found.map_or("", |(_, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentences_are_those_of_the_glossary() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/glossary.md");
        let text = std::fs::read_to_string(path).unwrap();
        let glossary = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (term, meaning) in TERMS {
            assert!(glossary.contains(meaning), "{term}");
            assert_eq!(meaning_of_term(term), meaning);
        }
        assert_eq!(meaning_of_term("focus"), "");
    }
}
