//! Writes a filter so that it is read as the same again, and so that no character of it steers a terminal.

use std::fmt::{self, Write as _};

use zctrace_report::text::printable;

use super::Filter;
use super::expression::{Expression, Side, Test};
use super::lex::{ends_word, keyword};

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(expression) => expression.fmt(f),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test(test) => test.fmt(f),
            Self::Not(inner) => {
                f.write_str("not ")?;
                inner.inside(f, |inner| matches!(inner, Self::And(_) | Self::Or(_)))
            }
            Self::And(list) => joined(f, list, " and ", |inner| matches!(inner, Self::Or(_))),
            Self::Or(list) => joined(f, list, " or ", |_| false),
        }
    }
}

impl Expression {
    fn inside(&self, f: &mut fmt::Formatter<'_>, brackets: fn(&Self) -> bool) -> fmt::Result {
        if brackets(self) {
            write!(f, "({self})")
        } else {
            write!(f, "{self}")
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, list: &[Expression], by: &str, brackets: fn(&Expression) -> bool) -> fmt::Result {
    for (index, inner) in list.iter().enumerate() {
        if index > 0 {
            f.write_str(by)?;
        }
        inner.inside(f, brackets)?;
    }
    Ok(())
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) => quoted(f, text),
            Self::Process(text) => field(f, "process", text),
            Self::Path(text) => field(f, "path", text),
            Self::Call(text) => field(f, "call", text),
            Self::Code(text) => field(f, "code", text),
            Self::End(Side::From, pattern) => field(f, "from", &pattern.text()),
            Self::End(Side::To, pattern) => field(f, "to", &pattern.text()),
            Self::End(Side::Either, pattern) => field(f, "kind", &pattern.text()),
            Self::Verdict(verdict) => write!(f, "verdict={verdict}"),
            Self::Number(number, compare, value) => write!(f, "{}{}{value}", number.word(), compare.word()),
        }
    }
}

fn field(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    write!(f, "{name}=")?;
    quoted(f, text)
}

/// A text, in quotes where it would not be read as itself without them.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let steers = |c: char| {
        let mut buffer = [0; 4];
        let same: &str = c.encode_utf8(&mut buffer);
        printable(same) != same
    };
    if !text.is_empty() && !text.contains(|c| ends_word(c) || steers(c)) && keyword(text).is_none() {
        return f.write_str(text);
    }
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if steers(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
