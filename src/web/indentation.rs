//! Takes the indentation of the templates out of a page: it serves those who read templates, and no
//! reader of the page.

/// The page without white space at the begin of its lines, and without empty lines. Lines within
/// `<pre>` stay as they are.
#[must_use]
pub fn without_indentation(page: &str) -> String {
    let mut short = String::with_capacity(page.len());
    let mut is_preformatted = false;
    for line in page.split_inclusive('\n') {
        let kept = if is_preformatted {
            line
        } else {
            line.trim_start()
        };

        short.push_str(kept);
        is_preformatted = ends_preformatted(line, is_preformatted);
    }

    short
}

/// Is the text after this line preformatted? What strangers wrote is escaped, so each of these tags
/// is ours.
fn ends_preformatted(line: &str, before: bool) -> bool {
    match (line.rfind("<pre"), line.rfind("</pre>")) {
        (Some(begin), Some(end)) => begin > end,
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (None, None) => before,
    }
}

#[cfg(test)]
mod tests {
    use super::without_indentation;

    #[test]
    fn only_preformatted_lines_keep_their_indentation() {
        let page = "<ul>\n  <li>\n\n    one two\n  </li>\n  <pre>{\n  \"a\": 1\n}</pre>\n  <p>end</p>\n</ul>\n";
        assert_eq!(
            without_indentation(page),
            "<ul>\n<li>\none two\n</li>\n<pre>{\n  \"a\": 1\n}</pre>\n<p>end</p>\n</ul>\n"
        );
    }
}
