//! Just enough of Rust's lexical grammar to find `unsafe` in code, and not in comments, strings and
//! character literals.

use std::iter::repeat_n;

/// A place in the code that needs an explanation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnsafeSite {
    /// From 1.
    pub(super) line: usize,
    /// Kind of the site, for the message.
    pub(super) what: &'static str,
    /// True if a comment above the site has `SAFETY` or `# Safety`.
    pub(super) explained: bool,
}

/// Every unsafe block, function, impl, trait and extern block of `text`. Attributes
/// (`#[unsafe(...)]`) and the types of function pointers promise nothing and are passed over.
pub(super) fn unsafe_sites(text: &str) -> Vec<UnsafeSite> {
    let code = code_only(text);
    let written: Vec<&str> = text.lines().collect();
    let code_lines: Vec<&str> = code.lines().collect();
    let mut sites = Vec::new();
    for (at, word) in code.match_indices("unsafe") {
        let after = &code[at + word.len()..];
        let before = code[..at].chars().next_back();
        if before.is_some_and(is_word) || after.chars().next().is_some_and(is_word) {
            continue;
        }
        let Some(what) = what_follows(after.trim_start()) else {
            continue;
        };
        let line = code[..at].matches('\n').count();
        sites.push(UnsafeSite {
            line: line + 1,
            what,
            explained: explained(&written, &code_lines, line),
        });
    }
    sites
}

fn what_follows(after: &str) -> Option<&'static str> {
    if after.starts_with('{') {
        return Some("an unsafe block");
    }
    let (word, rest) = after.split_at(after.find(|c| !is_word(c)).unwrap_or(after.len()));
    let rest = rest.trim_start();
    match word {
        "impl" => Some("an unsafe impl"),
        "trait" => Some("an unsafe trait"),
        // The string with the ABI is blank by now.
        "extern" if rest.starts_with('{') => Some("an unsafe extern block"),
        "extern" => what_follows(rest),
        "fn" if rest.starts_with(is_word) => Some("an unsafe function"),
        _ => None,
    }
}

/// Returns whether a comment explains the statement or item at `line` (from 0): one
/// directly above, with attributes or the statement's own earlier lines between them, or one in the
/// same line.
fn explained(written: &[&str], code: &[&str], line: usize) -> bool {
    let says = |at: usize| written[at].contains("SAFETY") || written[at].contains("# Safety");
    if says(line) {
        return true;
    }
    for at in (0..line).rev() {
        let code = code[at].trim();
        if code.is_empty() {
            if written[at].trim().is_empty() {
                return false;
            }
            // A line with nothing but comment.
            if says(at) {
                return true;
            }
        } else if code.ends_with(';') || code.ends_with('{') || code.starts_with('}') {
            // Another statement or item: its comments are its own.
            return false;
        }
    }
    false
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `text` with comments, strings and character literals blanked out, every line where it was.
pub(super) fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(first) = rest.chars().next() {
        let blank = not_code(rest, before);
        if blank == 0 {
            out.push(first);
            before = Some(first);
            rest = &rest[first.len_utf8()..];
        } else {
            for c in rest[..blank].chars() {
                if c == '\n' {
                    out.push('\n');
                } else {
                    out.extend(repeat_n(' ', c.len_utf8()));
                }
            }
            before = Some(' ');
            rest = &rest[blank..];
        }
    }
    out
}

/// A line comment, or one line of a block comment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comment<'a> {
    /// From 1.
    pub(super) line: usize,
    /// `//`, `///`, `//!` or `/*`.
    pub(super) marker: &'static str,
    /// True if the line holds nothing but the comment.
    pub(super) is_alone: bool,
    /// Width of the whole line, in characters.
    pub(super) width: usize,
    /// Text without the marker.
    pub(super) text: &'a str,
}

/// Returns the comments of `text`, one for each line that they span.
pub(super) fn comments(text: &str) -> Vec<Comment<'_>> {
    let mut found = Vec::new();
    let (mut at, mut before) = (0, None);
    while let Some(first) = text[at..].chars().next() {
        let len = not_code(&text[at..], before);
        if len == 0 {
            before = Some(first);
            at += first.len_utf8();
            continue;
        }
        let token = &text[at..at + len];
        if token.starts_with("//") || token.starts_with("/*") {
            add_comments(text, at, token, &mut found);
        }
        before = Some(' ');
        at += len;
    }
    found
}

fn add_comments<'a>(text: &'a str, at: usize, token: &'a str, found: &mut Vec<Comment<'a>>) {
    let line = text[..at].matches('\n').count() + 1;
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let marker = ["//!", "///", "//", "/*"]
        .into_iter()
        .find(|marker| token.starts_with(marker))
        .unwrap_or("//");
    let lines = text[start..].lines();
    for ((line, part), whole) in (line..).zip(token.lines()).zip(lines) {
        let text = part.strip_prefix(marker).unwrap_or(part);
        found.push(Comment {
            line,
            marker,
            is_alone: whole.trim_start().len() == part.trim_start().len(),
            width: whole.chars().count(),
            text: text.strip_suffix("*/").unwrap_or(text),
        });
    }
}

/// How many bytes at the start of `rest` are a comment or a literal; `before` is the character in
/// front of them.
fn not_code(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return string(rest);
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    if before.is_some_and(is_word) {
        return 0;
    }
    // Prefixes that change how a literal ends; the others (`b"`, `c"`) end as a plain one does.
    for prefix in ["r", "br", "cr"] {
        if let Some(after) = rest.strip_prefix(prefix) {
            let hashes = after.len() - after.trim_start_matches('#').len();
            if after[hashes..].starts_with('"') {
                let start = prefix.len() + hashes + 1;
                let end = format!("\"{}", "#".repeat(hashes));
                return rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len());
            }
        }
    }
    0
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character literal, or 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        // The escaped character may be the quote, so the search for the end starts behind it.
        Some((at, '\\')) => rest
            .get(at + 2..)
            .and_then(|tail| tail.find('\''))
            .map_or(0, |end| at + 2 + end + 1),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{code_only, comments, unsafe_sites};

    fn words(text: &str) -> String {
        code_only(text).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn blanks_comments_and_literals_and_keeps_the_rest() {
        assert_eq!(words("a // unsafe {\nb"), "a b");
        assert_eq!(words("a /* x /* unsafe */ y */ b"), "a b");
        assert_eq!(words(r#"a("unsafe \" {", b)"#), "a( , b)");
        assert_eq!(words("a(r#\"unsafe \" {\"#, b)"), "a( , b)");
        assert_eq!(words("a(br\"\\\", b)"), "a( , b)");
        assert_eq!(words("a('\"', b) \"x\""), "a( , b)");
        assert_eq!(words(r"a('\'', '\\', b'\n', b)"), "a( , , b , b)");
        assert_eq!(words("fn a<'x>(b: &'x str, c: 'é') {}"), "fn a<'x>(b: &'x str, c: ) {}");
        assert_eq!(words("r#type + bar\"x\""), "r#type + bar");
    }

    #[test]
    fn keeps_every_line_where_it_was() {
        let text = "a\n/* b\nc é */ d\n\"e\nf\" g\n";
        let blank = code_only(text);
        assert_eq!(blank.len(), text.len());
        assert_eq!(
            blank.lines().map(str::trim).collect::<Vec<_>>(),
            ["a", "", "d", "", "g"]
        );
    }

    #[test]
    fn comments_are_told_from_strings_and_keep_their_lines() {
        let text = "//! a\n/// b\nlet c = \"// d\"; // e\n/* f\n g */ h\nlet i = \"\n// j\n\";\n// é\n";
        let found = comments(text);
        let parts: Vec<_> = found
            .iter()
            .map(|comment| (comment.line, comment.marker, comment.is_alone, comment.text.trim()))
            .collect();
        assert_eq!(
            parts,
            [
                (1, "//!", true, "a"),
                (2, "///", true, "b"),
                (3, "//", false, "e"),
                (4, "/*", true, "f"),
                (5, "/*", false, "g"),
                (9, "//", true, "é"),
            ]
        );
        assert_eq!(found[5].width, 4);
    }

    #[test]
    fn never_panics_on_what_is_not_rust() {
        for text in [
            "'", "\"", "\\", "/*", "r#", "r\"", "'\\", "'\\'", "b'", "\"\\", "'é", "'\\é", "unsafe", "*/",
        ] {
            code_only(text);
            comments(text);
            unsafe_sites(text);
        }
    }

    #[test]
    fn knows_what_needs_an_explanation() {
        let kinds = |text| unsafe_sites(text).into_iter().map(|site| site.what).collect::<Vec<_>>();
        assert_eq!(kinds("let x = unsafe { y };"), ["an unsafe block"]);
        assert_eq!(kinds("let x = unsafe\n{ y };"), ["an unsafe block"]);
        assert_eq!(kinds("pub unsafe fn f() {}"), ["an unsafe function"]);
        assert_eq!(kinds("unsafe extern \"C\" fn f() {}"), ["an unsafe function"]);
        assert_eq!(kinds("unsafe extern \"C\" { fn f(); }"), ["an unsafe extern block"]);
        assert_eq!(kinds("unsafe impl Send for X {}"), ["an unsafe impl"]);
        assert_eq!(kinds("unsafe trait T {}"), ["an unsafe trait"]);
        assert!(kinds("#[unsafe(no_mangle)] static X: u8 = 0;").is_empty());
        assert!(kinds("type F = unsafe fn(u8); type G = unsafe extern \"C\" fn(u8);").is_empty());
        assert!(kinds("let not_unsafe = 1; let unsafely = 2; // unsafe {").is_empty());
    }

    #[test]
    fn finds_the_explanation_that_belongs_to_it() {
        let explained = |text| unsafe_sites(text).iter().map(|site| site.explained).collect::<Vec<_>>();
        assert_eq!(explained("// SAFETY: so\nunsafe { a }"), [true]);
        assert_eq!(
            explained("// SAFETY: so,\n// and so\nlet x =\n    unsafe { a };"),
            [true]
        );
        assert_eq!(
            explained("/// # Safety\n///\n/// x;\n#[inline]\npub unsafe fn f() {}"),
            [true]
        );
        assert_eq!(explained("unsafe { a } // SAFETY: so"), [true]);
        assert_eq!(explained("unsafe { a }"), [false]);
        assert_eq!(explained("// why not\nunsafe { a }"), [false]);
        assert_eq!(explained("// SAFETY: so\n\nunsafe { a }"), [false]);
        assert_eq!(explained("// SAFETY: so\nunsafe { a };\nunsafe { b }"), [true, false]);
        assert_eq!(explained("// SAFETY: so\nfn f() {\n    unsafe { b }\n}"), [false]);
        assert_eq!(explained("let s = \"SAFETY\";\nunsafe { b }"), [false]);
    }
}
