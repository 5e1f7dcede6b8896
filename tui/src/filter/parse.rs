//! Makes an expression of tokens, or says at which column what was expected.

use std::fmt;

use zctrace_report::Verdict;
use zctrace_report::text::printable;

use super::expression::{Compare, Expression, Number, Side, Test, VERDICTS};
use super::lex::{Placed, Token, lex};
use super::pattern::Pattern;
use crate::cli::values;

/// The longest filter, in bytes: longer than any that is written by hand, and short enough to be read at every key.
const LONGEST: usize = 4096;

/// How deep brackets and `not` may stand in each other.
const DEEPEST: usize = 64;

/// Why a filter cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mistake {
    /// Where, in characters from 1.
    pub(crate) column: usize,
    /// What stands there.
    found: String,
    /// What was expected.
    expected: String,
}

impl Mistake {
    pub(super) fn new(column: usize, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            column,
            found: found.into(),
            expected: expected.into(),
        }
    }
}

impl fmt::Display for Mistake {
    /// `column 4: found `)`, expected a value`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, expected) = (printable(&self.found), printable(&self.expected));
        write!(f, "column {}: found {found}, expected {expected}", self.column)
    }
}

impl std::error::Error for Mistake {}

/// Reads a filter; nothing but space is none.
pub(super) fn parse(text: &str) -> Result<Option<Expression>, Mistake> {
    if text.len() > LONGEST {
        return Err(Mistake::new(
            LONGEST + 1,
            format!("{} bytes", text.len()),
            format!("a filter of at most {LONGEST}"),
        ));
    }
    let tokens = lex(text)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser {
        tokens: &tokens,
        end: text.chars().count() + 1,
        depth: 0,
    };
    let expression = parser.any()?;
    match parser.tokens {
        [] => Ok(Some(expression)),
        _ => Err(parser.expected("`and`, `or` or the end")),
    }
}

struct Parser<'a> {
    tokens: &'a [Placed],
    /// The column after the last character.
    end: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.first().map(|(_, token)| token)
    }

    fn column(&self) -> usize {
        self.tokens.first().map_or(self.end, |(column, _)| *column)
    }

    /// Takes the next token if it is this one.
    fn skip(&mut self, token: &Token) -> bool {
        let is = self.peek() == Some(token);
        if is {
            self.tokens = &self.tokens[1..];
        }
        is
    }

    fn expected(&self, what: impl Into<String>) -> Mistake {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(Token::Open) => "`(`".to_owned(),
            Some(Token::Close) => "`)`".to_owned(),
            Some(Token::Not) => "`not`".to_owned(),
            Some(Token::And) => "`and`".to_owned(),
            Some(Token::Or) => "`or`".to_owned(),
            Some(Token::Operator(operator)) => format!("`{operator}`"),
            Some(Token::Text(text)) => format!("`{text}`"),
        };
        Mistake::new(self.column(), found, what)
    }

    fn any(&mut self) -> Result<Expression, Mistake> {
        let mut list = vec![self.all()?];
        while self.skip(&Token::Or) {
            list.push(self.all()?);
        }
        Ok(Expression::any(list))
    }

    fn all(&mut self) -> Result<Expression, Mistake> {
        let mut list = vec![self.one()?];
        while self.skip(&Token::And) || !matches!(self.peek(), None | Some(Token::Or | Token::Close)) {
            list.push(self.one()?);
        }
        Ok(Expression::all(list))
    }

    fn one(&mut self) -> Result<Expression, Mistake> {
        if self.depth == DEEPEST {
            return Err(self.expected(format!("less than {DEEPEST} brackets and `not` in each other")));
        }
        self.depth += 1;
        let one = self.one_deeper();
        self.depth -= 1;
        one
    }

    fn one_deeper(&mut self) -> Result<Expression, Mistake> {
        if self.skip(&Token::Not) {
            return Ok(Expression::Not(Box::new(self.one()?)));
        }
        if self.skip(&Token::Open) {
            let inner = self.any()?;
            if !self.skip(&Token::Close) {
                return Err(self.expected("`)`"));
            }
            return Ok(inner);
        }
        let Some(Token::Text(word)) = self.peek() else {
            return Err(self.expected("a test such as `to=tcp::443`, a word, `not` or `(`"));
        };
        let (word, at) = (word.clone(), self.column());
        let field = self.tokens;
        self.tokens = &self.tokens[1..];
        let Some(Token::Operator(operator)) = self.peek() else {
            return if word.is_empty() {
                Err(Mistake::new(at, "an empty text", "a word to look for"))
            } else {
                Ok(Expression::Test(Test::Word(word)))
            };
        };
        let operator = *operator;
        let Some(is) = is_field(&word) else {
            self.tokens = field;
            return Err(self.expected(format!("a field: {}", FIELDS.join(", "))));
        };
        if !is && !matches!(operator, "=" | "!=") {
            return Err(self.expected("`=` or `!=`, for this is no number"));
        }
        self.tokens = &self.tokens[1..];
        let Some(Token::Text(value)) = self.peek() else {
            return Err(self.expected(format!("a value for {word}")));
        };
        let value = value.clone();
        let test = test(&word, operator, &value).map_err(|expected| self.expected(expected))?;
        self.tokens = &self.tokens[1..];
        let test = Expression::Test(test);
        Ok(if operator == "!=" {
            Expression::Not(Box::new(test))
        } else {
            test
        })
    }
}

/// The fields that are no numbers, and those that are.
const FIELDS: [&str; 18] = [
    "process", "from", "to", "kind", "path", "call", "code", "verdict", "pid", "port", "flow", "calls", "bytes",
    "moved", "copied", "unknown", "neither", "looked",
];

/// Whether a word is a field, and then whether it is a number.
fn is_field(word: &str) -> Option<bool> {
    FIELDS.contains(&word).then(|| Number::of(word).is_some())
}

/// A test, or what was expected for its value.
fn test(field: &str, operator: &str, value: &str) -> Result<Test, String> {
    if value.is_empty() {
        return Err(format!("a value for {field} that is not empty"));
    }
    let text = value.to_owned();
    Ok(match field {
        "process" => Test::Process(text),
        "path" => Test::Path(text),
        "call" => Test::Call(text),
        "code" => Test::Code(text),
        "from" => Test::End(Side::From, end(value)?),
        "to" => Test::End(Side::To, end(value)?),
        "kind" => Test::End(Side::Either, end(value)?),
        "verdict" => Test::Verdict(verdict(value)?),
        _ => {
            let field = Number::of(field).ok_or("a field")?;
            let compare = Compare::of(operator).unwrap_or(Compare::Equal);
            Test::Number(field, compare, number(field, value)?)
        }
    })
}

fn end(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|why| format!("an end, KIND or KIND:GLOB ({why})"))
}

fn verdict(word: &str) -> Result<Verdict, String> {
    VERDICTS
        .into_iter()
        .find(|verdict| verdict.as_str() == word)
        .ok_or_else(|| format!("one of {}", VERDICTS.map(Verdict::as_str).join(", ")))
}

fn number(field: Number, value: &str) -> Result<u64, String> {
    if field.is_bytes() {
        return values::bytes(value).map_err(|why| format!("a number of bytes ({why})"));
    }
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value
        .parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| format!("a whole number for {}", field.word()))
}
