//! What every text screen needs: wrapping, and writing to a standard output that may be gone.

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

/// Appends `text`, broken between words, with `first` before the first line and as much space before the others.
pub(crate) fn wrap(into: &mut String, first: &str, text: &str) {
    let indent = first.chars().count();
    let mut column = indent;
    into.push_str(first);
    for (index, word) in text.split_whitespace().enumerate() {
        let long = word.chars().count();
        if index > 0 {
            if column + 1 + long > WIDTH {
                into.push('\n');
                into.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else {
                into.push(' ');
                column += 1;
            }
        }
        into.push_str(word);
        column += long;
    }
    into.push('\n');
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
}
