//! Queries of a text: what stands between semicolons that are neither quoted nor commented.

/// Returns the queries of a text, without comments around them.
pub(super) fn statements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = end(rest).unwrap_or(rest.len());
        let query = rest[..end].trim();
        if !is_blank(query) {
            found.push(query.to_owned());
        }
        rest = rest.get(end + 1..).unwrap_or("");
    }
    found
}

/// Returns whether a text ends with a semicolon that ends a query.
pub(super) fn is_complete(text: &str) -> bool {
    let mut rest = text;
    while let Some(end) = end(rest) {
        rest = &rest[end + 1..];
    }
    is_blank(rest)
}

/// Returns the place of the first semicolon outside of quotes and comments.
fn end(text: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        at += match next {
            ';' => return Some(at),
            '\'' | '"' | '`' => quoted(rest, next),
            _ if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            other => other.len_utf8(),
        };
    }
    None
}

/// Returns the length of a quoted text at the beginning, quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' if quote != '`' => _ = characters.next(),
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Returns whether nothing but white space and comments stands in a text.
fn is_blank(text: &str) -> bool {
    let text = text.trim_start();
    match text {
        "" => true,
        _ if text.starts_with("--") => text.find('\n').is_none_or(|end| is_blank(&text[end..])),
        _ if text.starts_with("/*") => text[2..].find("*/").is_none_or(|end| is_blank(&text[end + 4..])),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{is_complete, statements};

    #[test]
    fn semicolons_in_quotes_and_comments_end_no_query() {
        let text = "SELECT ';', \"a\\\";\", `b;` -- not; here\n; /* ; */ SELECT 2;\n-- the end;\n";
        let found = statements(text);
        assert_eq!(found, ["SELECT ';', \"a\\\";\", `b;` -- not; here", "/* ; */ SELECT 2"]);
        assert_eq!(statements("SELECT 'Größe;' ; SELECT 'x"), ["SELECT 'Größe;'", "SELECT 'x"]);
        assert!(statements(" ;; -- nothing\n /* at all").is_empty());
    }

    #[test]
    fn text_is_complete_after_its_last_semicolon() {
        assert!(is_complete("SELECT 1; -- done"));
        assert!(!is_complete("SELECT 1; SELECT 2"));
        assert!(!is_complete("SELECT ';"));
    }
}
