//! Patterns for names: `*` matches any text, `?` any one character, and everything else itself.

use std::str::Chars;

/// Returns whether the whole of `name` matches `pattern`.
///
/// A `*` also matches slashes and colons: `/data/*` matches everything below `/data`. Time is at
/// most the product of the two lengths, whatever the pattern.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // Positions after the last star, and after the text that the star has consumed so far.
    let mut star: Option<(Chars<'_>, Chars<'_>)> = None;
    loop {
        let (mut pattern_rest, mut name_rest) = (pattern.clone(), name.clone());
        let Some(here) = name_rest.next() else { break };
        match pattern_rest.next() {
            Some('*') => {
                pattern = pattern_rest;
                star = Some((pattern.clone(), name.clone()));
            }
            Some(c) if c == '?' || c == here => (pattern, name) = (pattern_rest, name_rest),
            _ => {
                let Some((after, eaten)) = &mut star else { return false };
                eaten.next();
                (pattern, name) = (after.clone(), eaten.clone());
            }
        }
    }
    pattern.all(|c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_stars_and_question_marks() {
        for (pattern, name, fit) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "/a/b:80", true),
            ("?", "", false),
            ("?", "ä", true),
            ("/data/*", "/data/a/b", true),
            ("/data/*", "/data", false),
            ("*.bin", "/a.bin/b.bin", true),
            ("*.bin", "/a.bin/b", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("**a**", "xax", true),
            ("*:80", "10.0.0.1:8080", false),
            ("*:80", "10.0.0.1:80", true),
            ("[a]", "a", false),
            ("[a]", "[a]", true),
        ] {
            assert_eq!(matches(pattern, name), fit, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_bounded_time() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
        assert!(!matches(&("*a".repeat(50) + "b"), &"a".repeat(5_000)));
    }
}
