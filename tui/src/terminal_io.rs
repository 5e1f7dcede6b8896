//! Printing to standard output and standard error, either of which may be closed.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};

use crate::exit_code;

/// Prints `text` to standard output and returns `code`, the exit code of the request.
///
/// A closed pipe (`| head -1`) does not change the code, because the reader has read what it
/// wanted. Any other failure is reported and returns [`exit_code::ERROR`].
pub(crate) fn print(text: &str, code: u8) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => code,
        Err(error) => {
            eprint(&format!("could not write the output: {error}"));
            exit_code::ERROR
        }
    }
}

/// Prints an error or a notice to standard error, with the program's name before it.
pub(crate) fn eprint(text: &str) {
    // If standard error cannot be written, the exit code still reports the failure.
    let _ = writeln!(io::stderr(), "zctrace: {text}");
}

/// Returns a text screen with its verdict in bold and its row marks in color.
///
/// Colors carry no information that the text does not have.
pub(crate) fn colorize(text: &str) -> String {
    let mut colored = String::with_capacity(text.len() + 256);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marked = line.get(..3).filter(|mark| mark.ends_with("  "));
        let color = match marked.map(|mark| &mark[..1]) {
            Some("=") => "32",
            Some("x" | "!") => "31",
            Some("?") => "33",
            _ => "",
        };
        match line.split_once("   ") {
            Some((verdict, rest)) if index == 0 => {
                let _ = write!(colored, "\x1b[1m{verdict}\x1b[0m   {rest}");
            }
            _ if color.is_empty() => colored.push_str(line),
            _ => {
                let _ = write!(colored, "\x1b[{color}m{}\x1b[0m{}", &line[..1], &line[1..]);
            }
        }
    }
    colored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colorizing_only_adds_escape_sequences() {
        let text = "50.0 % MOVED   of it\n=  a\nx  b\n?  c\n-  d\nxy  e\n   f\n";
        let colored = colorize(text);
        assert!(colored.starts_with("\x1b[1m50.0 % MOVED\x1b[0m   of it\n\x1b[32m=\x1b[0m  a\n\x1b[31mx"));
        let mut bare = colored;
        for code in ["0", "1", "31", "32", "33"] {
            bare = bare.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(bare, text);
    }
}
