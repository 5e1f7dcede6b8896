//! The word gate: openings, words and line lengths that the prose rules of `CONTRIBUTING.md` forbid
//! in comments and documents.
//!
//! Rust files are judged by their comments, Markdown files by their text outside of code, and
//! scripts and manifests by the lines that start with `#`. Code, strings, and text in backticks are
//! never judged.

use super::lexer::{self, Comment};
use super::{SourceFile, Violation};

/// Names of the rules.
pub(super) const RULES: [&str; 3] = ["opening", "word", "width"];

/// Longest line that holds nothing but a comment, in characters.
pub(super) const MAX_COLUMNS: usize = 100;

/// Openings of a comment or paragraph whose subject is a pronoun or a question.
const OPENINGS: [&str; 24] = [
    "What ",
    "The same",
    "As above",
    "As before",
    "It is",
    "It has",
    "It was",
    "It may",
    "It can",
    "Whether ",
    "All of them",
    "All of it",
    "All that",
    "Those that",
    "Those who",
    "Those of",
    "Of these",
    "Of those",
    "Of them",
    "Both of them",
    "One of them",
    "None of them",
    "Whoever",
    "Whatever",
];

/// Words and phrases, in lower case, with the words to use instead. A phrase matches at word
/// boundaries.
const WORDS: [(&str, &str); 61] = [
    ("the caller's promise", "each precondition and why it holds"),
    ("under way", "in flight, in progress"),
    ("told of", "reported, notified"),
    ("is told", "is reported, is notified"),
    ("are told", "are reported, are notified"),
    ("was told", "was reported, was notified"),
    ("were told", "were reported, were notified"),
    ("be told", "be reported, be notified"),
    ("been told", "been reported, been notified"),
    ("nobody", "no process, no probe, no caller"),
    ("somebody", "a process, a caller, a user"),
    ("whoever", "the process that, every process that"),
    ("whomever", "the process that, every process that"),
    ("whosoever", "the process that, every process that"),
    ("mend", "hint, fix"),
    ("mends", "hints, fixes"),
    ("mended", "fixed"),
    ("mending", "fixing"),
    ("so many", "at most N, that number of"),
    ("so much", "that amount of"),
    ("thrown away", "discarded"),
    ("throw away", "discard"),
    ("throws away", "discards"),
    ("throwing away", "discarding"),
    ("anew", "again, reset"),
    ("be had", "be available, be obtained"),
    ("again and again", "repeatedly"),
    ("in vain", "without result"),
    ("lane", "pipe cache, pipe position"),
    ("lanes", "pipe caches, pipe positions"),
    ("parcel", "span"),
    ("parcels", "spans"),
    ("stretch", "byte range"),
    ("stretches", "byte ranges"),
    ("trail", "history"),
    ("trails", "histories"),
    ("made-up", "synthetic, model"),
    ("planted", "injected"),
    ("news", "events"),
    ("sulk", "backoff"),
    ("sulks", "backs off"),
    ("heed", "observe, handle"),
    ("heeds", "observes, handles"),
    ("heeded", "observed, handled"),
    ("slander", "a false \"copied\""),
    ("chore", "task"),
    ("chores", "tasks"),
    ("for ever", "forever"),
    ("a look", "a peek"),
    ("looked at", "peeked, read"),
    ("is looked", "is read, is inspected"),
    ("comes to naught", "fails"),
    ("what there is", "the content"),
    ("as it were", "(delete)"),
    ("by whom", "(name the actor)"),
    ("to whom", "(name the actor)"),
    ("for whom", "(name the actor)"),
    ("who it is", "(name the actor)"),
    ("as it comes", "unmodified, in any order"),
    ("of its own accord", "by itself"),
    ("naught", "nothing"),
];

/// Words after a causal `for`: with a subject in front they make a clause, for which `because` is
/// the word.
const VERBS: [&str; 21] = [
    "is", "are", "was", "were", "has", "have", "had", "can", "cannot", "could", "may", "might", "must", "would",
    "will", "does", "do", "did", "needs", "holds", "knows",
];

/// Subjects between a causal `for` and its verb.
const SUBJECTS: [&str; 14] = [
    "it", "they", "there", "this", "that", "these", "those", "we", "you", "one", "none", "all", "both", "neither",
];

/// Returns every violation of the prose rules in a file.
pub(super) fn check(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for paragraph in paragraphs(file) {
        paragraph.check(&file.path, &mut found);
    }
    found
}

/// Consecutive lines of prose.
#[derive(Debug, Default, PartialEq, Eq)]
struct Paragraph {
    /// Line number, full width of the line in characters (0 if it is not limited), and text.
    lines: Vec<(usize, usize, String)>,
}

impl Paragraph {
    fn check(&self, path: &str, found: &mut Vec<Violation>) {
        let Some((first, _, opening)) = self.lines.first() else {
            return;
        };
        let opening = opening.trim_start_matches(['#', '-', '*', '>', ' ']);
        if let Some(forbidden) = OPENINGS.iter().find(|forbidden| opens_with(opening, forbidden)) {
            let message = format!("opens with \"{}\": name the subject", forbidden.trim_end());
            found.push(Violation::new(path, *first, "opening", message));
        }
        for (number, width, text) in &self.lines {
            if *width > MAX_COLUMNS && !cannot_wrap(text) {
                let message = format!("comment of {width} columns, at most {MAX_COLUMNS} are allowed");
                found.push(Violation::new(path, *number, "width", message));
            }
        }
        self.check_words(path, found);
    }

    /// Looks for forbidden words in the joined text, so that a phrase is found across a line break.
    fn check_words(&self, path: &str, found: &mut Vec<Violation>) {
        let mut text = String::new();
        let mut starts = Vec::new();
        for (number, _, line) in &self.lines {
            starts.push((text.len(), *number));
            text.push_str(line.trim());
            text.push(' ');
        }
        let text = without_code(&text).to_ascii_lowercase();
        let line_of = |at: usize| {
            starts
                .iter()
                .rev()
                .find(|(start, _)| *start <= at)
                .map_or(0, |(_, line)| *line)
        };
        for (words, instead) in WORDS {
            for (at, _) in text
                .match_indices(words)
                .filter(|(at, _)| is_phrase(&text, *at, words.len()))
            {
                let message = format!("says \"{words}\"; use {instead}");
                found.push(Violation::new(path, line_of(at), "word", message));
            }
        }
        for (at, _) in text
            .match_indices(", for ")
            .filter(|(at, found)| is_causal(&text[at + found.len()..]))
        {
            found.push(Violation::new(path, line_of(at), "word", "causal \"for\"; use because"));
        }
    }
}

fn opens_with(text: &str, opening: &str) -> bool {
    text.strip_prefix(opening)
        .is_some_and(|rest| opening.ends_with(' ') || !rest.starts_with(|c: char| c.is_alphanumeric()))
}

/// Returns whether a line has no place to wrap at: a URL, a row of a table, or a single long word.
fn cannot_wrap(text: &str) -> bool {
    let text = text.trim();
    text.contains("://") || text.starts_with('|') || !text.contains(' ')
}

fn is_phrase(text: &str, at: usize, len: usize) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    !text[..at].ends_with(is_word) && !text[at + len..].starts_with(is_word)
}

/// Returns whether the text after `, for ` is a clause. A noun phrase is recognized by its article,
/// and ends with the verb.
fn is_causal(rest: &str) -> bool {
    let words: Vec<&str> = rest.split_whitespace().take(6).collect();
    let is_verb = |at: usize| words.get(at).is_some_and(|word| VERBS.contains(word));
    match words.first() {
        Some(word) if SUBJECTS.contains(word) => is_verb(1),
        Some(&"the" | &"a" | &"an" | &"no" | &"each" | &"its" | &"their") => {
            let ends = |word: &&&str| !["that", "which", "who", "whose", "where", "when", "to", "and"].contains(*word);
            let phrase = words.iter().take_while(ends).count();
            (2..phrase).any(is_verb)
        }
        _ => false,
    }
}

/// Blanks what stands in backticks, and keeps the length.
fn without_code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        let ticks = rest[start..].len() - rest[start..].trim_start_matches('`').len();
        let fence = &rest[start..start + ticks];
        let body = start + ticks;
        let Some(end) = rest[body..].find(fence) else { break };
        out.push_str(&rest[..start]);
        out.extend(std::iter::repeat_n('`', ticks + end + ticks));
        rest = &rest[body + end + ticks..];
    }
    out.push_str(rest);
    out
}

/// Splits a file into paragraphs of prose. Files of other kinds have none.
fn paragraphs(file: &SourceFile) -> Vec<Paragraph> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("rs") => of_rust(&file.text),
        Some("md") => of_lines(markdown(&file.text)),
        Some("toml" | "yml" | "yaml" | "sh") => of_lines(hash_comments(&file.text)),
        None if file.text.starts_with("#!") => of_lines(hash_comments(&file.text)),
        _ => Vec::new(),
    }
}

/// A line of prose, or `None` where a paragraph ends.
type Line = Option<(usize, usize, String)>;

fn of_lines(lines: impl Iterator<Item = Line>) -> Vec<Paragraph> {
    let mut all = vec![Paragraph::default()];
    for line in lines {
        match line {
            Some(line) => {
                if let Some(last) = all.last_mut() {
                    last.lines.push(line);
                }
            }
            None => all.push(Paragraph::default()),
        }
    }
    all.retain(|paragraph| !paragraph.lines.is_empty());
    all
}

fn of_rust(text: &str) -> Vec<Paragraph> {
    let mut lines: Vec<Line> = Vec::new();
    let mut is_code = false;
    let mut before: Option<Comment<'_>> = None;
    for comment in lexer::comments(text) {
        let follows = before.as_ref().is_some_and(|before| {
            comment.is_alone && before.is_alone && before.marker == comment.marker && before.line + 1 == comment.line
        });
        if !follows {
            lines.push(None);
            is_code = false;
        }
        let is_fence = comment.text.trim_start().starts_with("```");
        is_code ^= is_fence;
        if is_fence || is_code || comment.text.trim().is_empty() {
            lines.push(None);
        } else {
            if starts_item(comment.text) {
                lines.push(None);
            }
            let width = if comment.is_alone { comment.width } else { 0 };
            lines.push(Some((comment.line, width, comment.text.to_owned())));
        }
        before = Some(comment);
    }
    of_lines(lines.into_iter())
}

/// Returns whether a line of Markdown begins an item, a heading or a row, that is, a paragraph of
/// its own.
fn starts_item(text: &str) -> bool {
    let text = text.trim_start();
    ["- ", "* ", "#", "|", "> "].iter().any(|mark| text.starts_with(mark))
        || text
            .split_once(". ")
            .is_some_and(|(number, _)| number.parse::<u32>().is_ok())
}

/// Text of a Markdown document without its code. Its lines may be of any length.
fn markdown(text: &str) -> impl Iterator<Item = Line> {
    let mut is_code = false;
    (1..).zip(text.lines()).flat_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if is_fence || is_code || line.trim().is_empty() {
            return vec![None];
        }
        let line_of = Some((number, 0, line.to_owned()));
        if starts_item(line) {
            vec![None, line_of]
        } else {
            vec![line_of]
        }
    })
}

/// Lines that hold nothing but a comment that starts with `#`.
fn hash_comments(text: &str) -> impl Iterator<Item = Line> {
    (1..).zip(text.lines()).map(|(number, line)| {
        let comment = line.trim_start().strip_prefix('#')?;
        if comment.starts_with('!') || comment.trim().trim_matches('-').is_empty() {
            return None;
        }
        Some((number, line.chars().count(), comment.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<(&'static str, usize)> {
        let file = SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&file).into_iter().map(|found| (found.rule, found.line)).collect()
    }

    fn rust(text: &str) -> Vec<(&'static str, usize)> {
        broken("xtask/src/any.rs", text)
    }

    #[test]
    fn catches_openings_of_comments_and_paragraphs() {
        assert_eq!(rust("//! What is here.\n"), [("opening", 1)]);
        assert_eq!(rust("/// Returns it.\n///\n/// The same as above.\n"), [("opening", 3)]);
        assert_eq!(rust("let x = 1; // Whether it is one.\n"), [("opening", 1)]);
        assert_eq!(rust("/// Lists:\n/// - It is one.\n"), [("opening", 2)]);
        assert_eq!(rust("// Of these, two.\n"), [("opening", 1)]);
        // In the middle of a paragraph the noun stands before it, and a longer word is another
        // word.
        assert_eq!(rust("/// A page.\n/// It is the kernel's.\n"), []);
        assert_eq!(rust("/// Whatnot. Itself.\n"), []);
        assert_eq!(broken("docs/a.md", "# What this is\n\nIt is a tool.\n").len(), 2);
    }

    #[test]
    fn catches_words_across_lines_and_not_in_code() {
        assert_eq!(rust("/// A call that is under\n/// way.\n"), [("word", 1)]);
        assert_eq!(rust("// Kept, for it is needed.\n"), [("word", 1)]);
        assert_eq!(rust("// Kept, for the page is needed.\n"), [("word", 1)]);
        assert_eq!(rust("// Kept, for the ring's end may cut it.\n"), [("word", 1)]);
        assert_eq!(rust("// Kept, for the page that is next.\n"), []);
        assert_eq!(rust("// Kept, for the tests.\n"), []);
        assert_eq!(rust("// Kept for it to be used.\n"), []);
        assert_eq!(rust("/// Runs as `nobody`.\n/// ```\n/// nobody\n/// ```\n"), []);
        assert_eq!(rust("let s = \"nobody\"; amend(); // to amend\n"), []);
        assert_eq!(rust("let s = r\"\n// nobody\n\";\n"), []);
        assert_eq!(
            broken(".ci/run", "#!/bin/sh\n# For whom.\necho nobody\n"),
            [("word", 2)]
        );
        assert_eq!(broken("Cargo.toml", "# A chore.\nx = \"chore\"\n"), [("word", 1)]);
        assert_eq!(broken("docs/man/a.1", "nobody\n"), []);
    }

    #[test]
    fn catches_wide_comments_that_could_wrap() {
        let wide = |len: usize| "word ".repeat(len / 5);
        assert_eq!(rust(&format!("// {}\n", wide(95))), []);
        assert_eq!(rust(&format!("// {}\n", wide(105))), [("width", 1)]);
        assert_eq!(rust(&format!("    /// {}\n", wide(100))), [("width", 1)]);
        assert_eq!(rust(&format!("let x = 1; // {}\n", wide(105))), []);
        assert_eq!(rust(&format!("/// | {} |\n", wide(105))), []);
        assert_eq!(rust(&format!("/// <https://a/{}>\n", "b".repeat(100))), []);
        assert_eq!(broken("docs/a.md", &wide(200)), []);
    }
}
