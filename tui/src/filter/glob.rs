//! Patterns for names: `*` is any text, `?` any one character, and all else is itself.

/// Whether the whole of `name` fits `pattern`.
///
/// A `*` takes slashes and colons too: `/data/*` is all that lies below `/data`. Time is at most the product of the two
/// lengths, whatever the pattern.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut here) = (0, 0);
    // Where the last star stands, and up to where it has eaten.
    let mut star: Option<(usize, usize)> = None;
    while here < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(&c) if c == '?' || c == name[here] => {
                at += 1;
                here += 1;
            }
            _ => {
                let Some((star_at, eaten)) = star else { return false };
                star = Some((star_at, eaten + 1));
                (at, here) = (star_at + 1, eaten + 1);
            }
        }
    }
    pattern[at..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
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
            assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        assert!(!fits(&"*a".repeat(200), &"a".repeat(199)));
        assert!(!fits(&("*a".repeat(50) + "b"), &"a".repeat(5_000)));
    }
}
