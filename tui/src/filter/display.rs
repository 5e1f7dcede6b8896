//! Formats a filter so that parsing it gives the same filter, and without any control characters.

use std::fmt::{self, Write as _};

use zctrace_report::format::printable;

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
                inner.fmt_inside(f, |inner| matches!(inner, Self::And(_) | Self::Or(_)))
            }
            Self::And(list) => fmt_joined(f, list, " and ", |inner| matches!(inner, Self::Or(_))),
            Self::Or(list) => fmt_joined(f, list, " or ", |_| false),
        }
    }
}

impl Expression {
    fn fmt_inside(&self, f: &mut fmt::Formatter<'_>, needs_parens: fn(&Self) -> bool) -> fmt::Result {
        if needs_parens(self) {
            write!(f, "({self})")
        } else {
            write!(f, "{self}")
        }
    }
}

fn fmt_joined(
    f: &mut fmt::Formatter<'_>,
    list: &[Expression],
    by: &str,
    needs_parens: fn(&Expression) -> bool,
) -> fmt::Result {
    for (index, inner) in list.iter().enumerate() {
        if index > 0 {
            f.write_str(by)?;
        }
        inner.fmt_inside(f, needs_parens)?;
    }
    Ok(())
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) => fmt_quoted(f, text),
            Self::Process(text) => fmt_field(f, "process", text),
            Self::Path(text) => fmt_field(f, "path", text),
            Self::Call(text) => fmt_field(f, "call", text),
            Self::Code(text) => fmt_field(f, "code", text),
            Self::End(Side::From, pattern) => fmt_field(f, "from", &pattern.exact()),
            Self::End(Side::To, pattern) => fmt_field(f, "to", &pattern.exact()),
            Self::End(Side::Either, pattern) => fmt_field(f, "kind", &pattern.exact()),
            Self::Verdict(verdict) => write!(f, "verdict={verdict}"),
            Self::Number(number, compare, value) => write!(f, "{}{}{value}", number.keyword(), compare.keyword()),
        }
    }
}

fn fmt_field(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    write!(f, "{name}=")?;
    fmt_quoted(f, text)
}

/// Formats a text, quoted if it would otherwise not be parsed as itself.
fn fmt_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
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
