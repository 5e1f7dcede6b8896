//! Parses tokens to an expression, or reports the column and what was expected there.

use std::fmt;

use zctrace_report::Verdict;
use zctrace_report::format::printable;

use super::expression::{Comparison, Expression, NumericField, Side, Test, VERDICTS};
use super::lex::{Spanned, Token, lex};
use super::pattern::Pattern;
use crate::quantity::parse_bytes;

/// Maximum length of a filter in bytes: longer than any typed by hand, and short enough to parse at
/// every key.
const MAX_LEN: usize = 4096;

/// Maximum nesting depth of parentheses and `not`.
const MAX_DEPTH: usize = 64;

/// Error of a filter that cannot be parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ParseError {
    /// Column, in characters from 1.
    pub(crate) column: usize,
    /// Text found there.
    found: String,
    /// Text expected there.
    expected: String,
}

impl ParseError {
    pub(super) fn new(column: usize, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            column,
            found: found.into(),
            expected: expected.into(),
        }
    }
}

impl fmt::Display for ParseError {
    /// Formats as `column 4: found `)`, expected a value`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, expected) = (printable(&self.found), printable(&self.expected));
        write!(f, "column {}: found {found}, expected {expected}", self.column)
    }
}

impl std::error::Error for ParseError {}

/// Parses a filter; white space alone is no filter.
pub(super) fn parse(text: &str) -> Result<Option<Expression>, ParseError> {
    if text.len() > MAX_LEN {
        return Err(ParseError::new(
            MAX_LEN + 1,
            format!("{} bytes", text.len()),
            format!("a filter of at most {MAX_LEN}"),
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
    let expression = parser.parse_or()?;
    match parser.tokens {
        [] => Ok(Some(expression)),
        _ => Err(parser.expected("`and`, `or` or the end")),
    }
}

struct Parser<'a> {
    tokens: &'a [Spanned],
    /// Column after the last character.
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

    /// Consumes the next token if it is this one.
    fn take_if(&mut self, token: &Token) -> bool {
        let is = self.peek() == Some(token);
        if is {
            self.tokens = &self.tokens[1..];
        }
        is
    }

    fn expected(&self, what: impl Into<String>) -> ParseError {
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
        ParseError::new(self.column(), found, what)
    }

    fn parse_or(&mut self) -> Result<Expression, ParseError> {
        let mut list = vec![self.parse_and()?];
        while self.take_if(&Token::Or) {
            list.push(self.parse_and()?);
        }
        Ok(Expression::or(list))
    }

    fn parse_and(&mut self) -> Result<Expression, ParseError> {
        let mut list = vec![self.parse_unary()?];
        while self.take_if(&Token::And) || !matches!(self.peek(), None | Some(Token::Or | Token::Close)) {
            list.push(self.parse_unary()?);
        }
        Ok(Expression::and(list))
    }

    fn parse_unary(&mut self) -> Result<Expression, ParseError> {
        if self.depth == MAX_DEPTH {
            return Err(self.expected(format!("fewer than {MAX_DEPTH} nested parentheses and `not`")));
        }
        self.depth += 1;
        let expression = self.parse_primary();
        self.depth -= 1;
        expression
    }

    fn parse_primary(&mut self) -> Result<Expression, ParseError> {
        if self.take_if(&Token::Not) {
            return Ok(Expression::Not(Box::new(self.parse_unary()?)));
        }
        if self.take_if(&Token::Open) {
            let inner = self.parse_or()?;
            if !self.take_if(&Token::Close) {
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
                Err(ParseError::new(at, "an empty text", "a word to look for"))
            } else {
                Ok(Expression::Test(Test::Word(word)))
            };
        };
        let operator = *operator;
        let Some(is_numeric) = find_field(&word) else {
            self.tokens = field;
            return Err(self.expected(format!("a field: {}", FIELDS.join(", "))));
        };
        if !is_numeric && !matches!(operator, "=" | "!=") {
            return Err(self.expected("`=` or `!=`, because this field is not a number"));
        }
        self.tokens = &self.tokens[1..];
        let Some(Token::Text(value)) = self.peek() else {
            return Err(self.expected(format!("a value for {word}")));
        };
        let value = value.clone();
        let test = parse_test(&word, operator, &value).map_err(|expected| self.expected(expected))?;
        self.tokens = &self.tokens[1..];
        let test = Expression::Test(test);
        Ok(if operator == "!=" {
            Expression::Not(Box::new(test))
        } else {
            test
        })
    }
}

/// The non-numeric fields, and the numeric ones.
const FIELDS: [&str; 18] = [
    "process", "from", "to", "kind", "path", "call", "code", "verdict", "pid", "port", "flow", "calls", "bytes",
    "moved", "copied", "unknown", "excluded", "peeked",
];

/// Returns whether a word is a field, and if so whether it is numeric.
fn find_field(word: &str) -> Option<bool> {
    FIELDS
        .contains(&word)
        .then(|| NumericField::from_keyword(word).is_some())
}

/// Parses a test, or returns what was expected as its value.
fn parse_test(field: &str, operator: &str, value: &str) -> Result<Test, String> {
    if value.is_empty() {
        return Err(format!("a value for {field} that is not empty"));
    }
    let text = value.to_owned();
    Ok(match field {
        "process" => Test::Process(text),
        "path" => Test::Path(text),
        "call" => Test::Call(text),
        "code" => Test::Code(text),
        "from" => Test::End(Side::From, parse_endpoint(value)?),
        "to" => Test::End(Side::To, parse_endpoint(value)?),
        "kind" => Test::End(Side::Either, parse_endpoint(value)?),
        "verdict" => Test::Verdict(parse_verdict(value)?),
        _ => {
            let field = NumericField::from_keyword(field).ok_or("a field")?;
            let compare = Comparison::from_keyword(operator).unwrap_or(Comparison::Equal);
            Test::Number(field, compare, parse_number(field, value)?)
        }
    })
}

fn parse_endpoint(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|why| format!("an endpoint, KIND or KIND:GLOB ({why})"))
}

fn parse_verdict(word: &str) -> Result<Verdict, String> {
    VERDICTS
        .into_iter()
        .find(|verdict| verdict.as_str() == word)
        .ok_or_else(|| format!("one of {}", VERDICTS.map(Verdict::as_str).join(", ")))
}

fn parse_number(field: NumericField, value: &str) -> Result<u64, String> {
    if field.is_bytes() {
        return parse_bytes(value).map_err(|why| format!("a number of bytes ({why})"));
    }
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value
        .parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| format!("a whole number for {}", field.keyword()))
}
