//! Text layout: wrapping, shortening, and the sinks that text screens are written to.

use std::fmt;

/// The widest line of any screen, in characters.
pub(crate) const WIDTH: usize = 100;

/// Destination of a text screen, with the width to lay it out for.
pub(crate) trait TextSink: fmt::Write {
    /// Returns the width of the widest line, in characters.
    fn width(&self) -> usize;

    /// Appends a string.
    fn push_str(&mut self, text: &str) {
        // Sinks write to memory, so that a write cannot fail.
        let _ = self.write_str(text);
    }

    /// Appends a character.
    fn push(&mut self, c: char) {
        let _ = self.write_char(c);
    }
}

/// Screen of the fixed width that everything printed to standard output has.
impl TextSink for String {
    fn width(&self) -> usize {
        WIDTH
    }
}

/// Screen of a given width.
#[derive(Clone, Debug)]
pub(crate) struct TextBuffer {
    text: String,
    width: usize,
}

impl TextBuffer {
    /// Returns an empty buffer with lines of at most `width` characters.
    pub(crate) const fn new(width: usize) -> Self {
        Self {
            text: String::new(),
            width,
        }
    }

    /// Returns the text written so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Write for TextBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.write_str(text)
    }
}

impl TextSink for TextBuffer {
    fn width(&self) -> usize {
        self.width
    }
}

/// Appends `text`, wrapped between words. The first line starts with `first`, and the others are
/// indented by the width of `first`. A word that is longer than a line is split.
pub(crate) fn wrap(into: &mut impl TextSink, first: &str, text: &str) {
    let width = into.width();
    // An indent that would leave almost no space for the text is reduced.
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

/// Returns `text` in at most `room` characters. A longer text keeps its beginning and its end, with
/// `…` in between.
pub(crate) fn shorten(text: &str, room: usize) -> String {
    let long = text.chars().count();
    if long <= room {
        return text.to_owned();
    }
    let Some(room) = room.checked_sub(1) else {
        return String::new();
    };
    // The end of a path or an address identifies it better than its beginning.
    let head = room / 3;
    let tail = room - head;
    text.chars()
        .take(head)
        .chain(std::iter::once('…'))
        .chain(text.chars().skip(long - tail))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_between_words_and_indents() {
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
    fn shortening_removes_the_middle() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefghij", 7), "ab…ghij");
        assert_eq!(shorten("äöüäöü", 2), "…ü");
        assert_eq!((shorten("ab", 1), shorten("ab", 0)), ("…".to_owned(), String::new()));
    }
}
