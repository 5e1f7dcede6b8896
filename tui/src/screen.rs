//! What every text screen needs: wrapping, and writing to a standard output that may be gone.

use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Write};

use crate::exit;

/// The widest line of any screen, in characters.
pub(crate) const WIDTH: usize = 100;

/// Writes an answer to standard output, whose code it is.
///
/// A reader that has gone (`| head -1`) has read what it wanted, so the code stays. Any other failure is ours.
pub(crate) fn answer(text: &str, code: u8) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => code,
        Err(error) => {
            complain(&format!("could not write the answer: {error}"));
            exit::FAILED
        }
    }
}

/// Says on standard error what went wrong.
pub(crate) fn complain(text: &str) {
    // If nobody can be told, the exit code still tells.
    let _ = writeln!(io::stderr(), "zctrace: {text}");
}

/// What a screen is written on: how wide it is, and where the text goes.
pub(crate) trait Paper: fmt::Write {
    /// The widest line, in characters.
    fn width(&self) -> usize;

    /// Appends a text.
    fn push_str(&mut self, text: &str) {
        // Paper is memory, which takes all that is written.
        let _ = self.write_str(text);
    }

    /// Appends a character.
    fn push(&mut self, c: char) {
        let _ = self.write_char(c);
    }
}

/// A screen as wide as all are that go to standard output.
impl Paper for String {
    fn width(&self) -> usize {
        WIDTH
    }
}

/// A screen of another width.
#[derive(Clone, Debug)]
pub(crate) struct Sheet {
    text: String,
    width: usize,
}

impl Sheet {
    /// An empty one, with lines of at most so many characters.
    pub(crate) const fn new(width: usize) -> Self {
        Self {
            text: String::new(),
            width,
        }
    }

    /// What is on it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Write for Sheet {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.write_str(text)
    }
}

impl Paper for Sheet {
    fn width(&self) -> usize {
        self.width
    }
}

/// Appends `text`, broken between words, with `first` before the first line and as much space before the others. A word
/// that is longer than a line is broken too.
pub(crate) fn wrap(into: &mut impl Paper, first: &str, text: &str) {
    let width = into.width();
    // Where the indent would leave hardly anything, the text has it instead.
    let (indent, gap) = match first.chars().count() {
        long if long + 12 > width => (long, long.min(width / 4)),
        indent => (indent, indent),
    };
    let room = width.saturating_sub(gap).max(1);
    let mut line = String::from(first);
    let mut column = indent;
    let mut end_line = |line: &mut String| {
        into.push_str(line.trim_end());
        into.push('\n');
        *line = " ".repeat(gap);
    };
    let mut at_start = true;
    for word in text.split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let long = rest.chars().count();
            if column + usize::from(!at_start) + long > width && column > gap {
                end_line(&mut line);
                (column, at_start) = (gap, true);
            }
            if !at_start {
                line.push(' ');
                column += 1;
            }
            let cut = rest.char_indices().nth(room).map_or(rest.len(), |(index, _)| index);
            let (piece, left) = rest.split_at(cut);
            line.push_str(piece);
            column += piece.chars().count();
            (rest, at_start) = (left, false);
        }
    }
    end_line(&mut line);
}

/// A text in at most `room` characters: of one that is longer the beginning and the end, with `…` between.
pub(crate) fn shorten(text: &str, room: usize) -> String {
    let long = text.chars().count();
    if long <= room {
        return text.to_owned();
    }
    let Some(room) = room.checked_sub(1) else {
        return String::new();
    };
    // The end of a path or an address says more than its beginning.
    let head = room / 3;
    let tail = room - head;
    text.chars()
        .take(head)
        .chain(std::iter::once('…'))
        .chain(text.chars().skip(long - tail))
        .collect()
}

/// A screen with its marks and its verdict in colours. They say nothing that is not there without them.
pub(crate) fn colour(text: &str) -> String {
    let mut coloured = String::with_capacity(text.len() + 256);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marked = line.get(..3).filter(|mark| mark.ends_with("  "));
        let colour = match marked.map(|mark| &mark[..1]) {
            Some("=") => "32",
            Some("x" | "!") => "31",
            Some("?") => "33",
            _ => "",
        };
        match line.split_once("   ") {
            Some((verdict, rest)) if index == 0 => {
                let _ = write!(coloured, "\x1b[1m{verdict}\x1b[0m   {rest}");
            }
            _ if colour.is_empty() => coloured.push_str(line),
            _ => {
                let _ = write!(coloured, "\x1b[{colour}m{}\x1b[0m{}", &line[..1], &line[1..]);
            }
        }
    }
    coloured
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_indented() {
        let mut text = String::new();
        wrap(&mut text, "  ZC03  ", &"word ".repeat(40));
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        assert!(
            lines[0].starts_with("  ZC03  word") && lines[1].starts_with("        word"),
            "{text}"
        );
        assert_eq!(text.split_whitespace().count(), 41);
    }

    #[test]
    fn what_is_too_long_loses_its_middle() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefghij", 7), "ab…ghij");
        assert_eq!(shorten("äöüäöü", 2), "…ü");
        assert_eq!((shorten("ab", 1), shorten("ab", 0)), ("…".to_owned(), String::new()));
    }

    #[test]
    fn colours_are_only_added() {
        let text = "50.0 % MOVED   of it\n=  a\nx  b\n?  c\n-  d\nxy  e\n   f\n";
        let coloured = colour(text);
        assert!(coloured.starts_with("\x1b[1m50.0 % MOVED\x1b[0m   of it\n\x1b[32m=\x1b[0m  a\n\x1b[31mx"));
        let mut bare = coloured;
        for code in ["0", "1", "31", "32", "33"] {
            bare = bare.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(bare, text);
    }
}
