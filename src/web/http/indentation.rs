//! Removes the line breaks and the indentation of the templates from a page. They are only for
//! people who read templates.

/// Tags beside which white space is not visible: block elements of a page, and the parts of an SVG.
const ON_LINES_OF_THEIR_OWN: &[&str] = &[
    "html", "head", "body", "main", "header", "footer", "nav", "section", "article", "aside",
    "div", "p", "h1", "h2", "h3", "h4", "ul", "ol", "li", "dl", "dt", "dd", "table", "caption",
    "thead", "tbody", "tr", "td", "th", "form", "details", "summary", "hr", "meta", "link",
    "title", "option", "script", "pre", "template", "defs", "symbol", "g", "rect", "path", "line",
    "circle", "polyline", "polygon", "text", "use", "pattern", "desc", "!doctype",
];

/// The page without the templates' indentation. Lines within `<pre>` stay as they are.
#[must_use]
pub fn without_indentation(page: &str) -> String {
    let mut short = String::with_capacity(page.len());
    let mut is_preformatted = false;
    for line in page.split('\n') {
        if is_preformatted {
            short.push('\n');
            short.push_str(line);
        } else if !line.trim().is_empty() {
            let line = line.trim_ascii_start();
            short.truncate(short.trim_ascii_end().len());
            if is_space_needed(&short, line) {
                short.push(' ');
            }
            short.push_str(line);
        }
        is_preformatted = ends_preformatted(line, is_preformatted);
    }

    short.push('\n');
    short
}

/// Would the page look different without white space between these?
fn is_space_needed(before: &str, after: &str) -> bool {
    // The end of a tag whose attributes are on lines of their own.
    if before.is_empty() || after.starts_with('>') || after.starts_with("/>") {
        return false;
    }

    let begins_tag = after.starts_with('<');
    let ends_tag = before.ends_with('>');
    let is_beside = (begins_tag && stands_on_lines_of_its_own(after))
        || (ends_tag
            && before
                .rfind('<')
                .is_some_and(|at| stands_on_lines_of_its_own(&before[at..])));
    !is_beside
}

/// Does this text begin with one of the tags in [`ON_LINES_OF_THEIR_OWN`]?
fn stands_on_lines_of_its_own(tag: &str) -> bool {
    let name = tag.trim_start_matches('<').trim_start_matches('/');
    let end = name
        .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '!')
        .unwrap_or(name.len());
    ON_LINES_OF_THEIR_OWN.contains(&&name[..end])
}

/// Is the text after this line preformatted? Text of strangers is escaped, so each of these tags is
/// ours.
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
    fn a_page_reads_as_if_its_templates_had_one_line() {
        let page = "<!doctype html>\n<ul>\n  <li>\n    one\n\n    two <b>three</b>\n    <i>four</i>\n  </li>\n  <a\n    \
                    class=\"x\"\n    href=\"/\"\n  >five</a>\n  <svg>\n    <rect/>\n  </svg>\n</ul>\n";
        assert_eq!(
            without_indentation(page),
            "<!doctype html><ul><li>one two <b>three</b> <i>four</i></li><a class=\"x\" href=\"/\">five</a> \
             <svg><rect/></svg></ul>\n"
        );
    }

    #[test]
    fn preformatted_lines_stay_as_they_are() {
        let page = "<div>\n  <pre>{\n  \"a\": 1\n\n}</pre>\n  <p>end</p>\n</div>\n";
        assert_eq!(
            without_indentation(page),
            "<div><pre>{\n  \"a\": 1\n\n}</pre><p>end</p></div>\n"
        );
    }
}
