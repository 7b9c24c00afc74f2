//! Pieces of HTML whose text cannot be read as markup.

use std::fmt::Write;

/// Returns text as HTML shows it, in an element or an attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            // What no page may hold, and marks that turn the direction of text after them.
            c if c.is_control() && c != '\n' && c != '\t' => shown.push('\u{fffd}'),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}

/// A table: names of columns, and cells that are HTML already.
pub(super) fn table(caption: &str, head: &[String], rows: &[Vec<String>]) -> String {
    let mut html = String::from("<div class=\"wide\" tabindex=\"0\" role=\"region\"");
    _ = write!(html, " aria-label=\"{0}\"><table><caption>{0}</caption><thead><tr>", escaped(caption));
    for name in head {
        _ = write!(html, "<th scope=\"col\">{name}</th>");
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for (place, cell) in row.iter().enumerate() {
            // The first cell names the row.
            match place {
                0 => _ = write!(html, "<th scope=\"row\">{cell}</th>"),
                _ => _ = write!(html, "<td>{cell}</td>"),
            }
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn markup_and_marks_of_direction_are_text() {
        let text = "<script>alert(\"&'\")</script>\u{202e}\u{7}";
        assert_eq!(escaped(text), "&lt;script&gt;alert(&quot;&amp;&#39;&quot;)&lt;/script&gt;\u{fffd}\u{fffd}");
    }
}
