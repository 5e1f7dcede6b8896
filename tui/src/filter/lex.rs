//! Splits a filter into tokens, each with its starting column, in characters from 1.

use std::iter::Peekable;
use std::str::Chars;

use super::parse::ParseError;

/// A token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    Open,
    Close,
    Not,
    And,
    Or,
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`.
    Operator(&'static str),
    /// A word, or a quoted text, which is never a keyword.
    Text(String),
}

/// A token and its column.
pub(super) type Spanned = (usize, Token);

/// Returns whether a word is a keyword, so that an equal text must be quoted.
pub(super) fn keyword(word: &str) -> Option<Token> {
    [("and", Token::And), ("or", Token::Or), ("not", Token::Not)]
        .into_iter()
        .find_map(|(name, token)| name.eq_ignore_ascii_case(word).then_some(token))
        .or(match word {
            "&&" => Some(Token::And),
            "||" => Some(Token::Or),
            _ => None,
        })
}

/// Returns whether a character ends a word that stands alone or may be a field.
pub(super) fn ends_word(c: char) -> bool {
    ends_value(c) || matches!(c, '=' | '<' | '>' | '!')
}

/// Returns whether a character ends a value. A value after an operator may contain operators, as
/// paths may.
fn ends_value(c: char) -> bool {
    c.is_whitespace() || matches!(c, '(' | ')' | '"')
}

/// Splits the text.
pub(super) fn lex(text: &str) -> Result<Vec<Spanned>, ParseError> {
    let mut reader = Reader {
        chars: text.chars().peekable(),
        column: 1,
    };
    let mut tokens: Vec<Spanned> = Vec::new();
    while let Some(c) = reader.peek() {
        let column = reader.column;
        if c.is_whitespace() {
            reader.next();
            continue;
        }
        let after_operator = matches!(tokens.last(), Some((_, Token::Operator(_))));
        let token = match c {
            '(' => reader.take(Token::Open),
            ')' => reader.take(Token::Close),
            '"' => Token::Text(reader.read_quoted()?),
            _ if after_operator => Token::Text(reader.read_word(ends_value)),
            '=' => reader.take(Token::Operator("=")),
            '<' => reader.read_operator("<", "<="),
            '>' => reader.read_operator(">", ">="),
            '!' => {
                reader.next();
                if reader.peek() == Some('=') {
                    reader.take(Token::Operator("!="))
                } else {
                    Token::Not
                }
            }
            _ => {
                let word = reader.read_word(ends_word);
                keyword(&word).unwrap_or(Token::Text(word))
            }
        };
        tokens.push((column, token));
    }
    Ok(tokens)
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    column: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.chars.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.column += usize::from(next.is_some());
        next
    }

    fn take(&mut self, token: Token) -> Token {
        self.next();
        token
    }

    fn read_operator(&mut self, short: &'static str, with_equal: &'static str) -> Token {
        self.next();
        if self.peek() == Some('=') {
            self.take(Token::Operator(with_equal))
        } else {
            Token::Operator(short)
        }
    }

    fn read_word(&mut self, ends: fn(char) -> bool) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek().filter(|&c| !ends(c)) {
            word.push(c);
            self.next();
        }
        word
    }

    fn read_quoted(&mut self) -> Result<String, ParseError> {
        let start_column = self.column;
        self.next();
        let mut text = String::new();
        loop {
            let column = self.column;
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.read_escape(column)?),
                Some(c) => text.push(c),
                None => {
                    return Err(ParseError::new(
                        column,
                        "the end",
                        format!("the quote that ends the one at column {start_column}"),
                    ));
                }
            }
        }
    }

    /// Parses the escape sequence after a backslash.
    fn read_escape(&mut self, column: usize) -> Result<char, ParseError> {
        let error = |found: String| ParseError::new(column, found, "one of \\\\ \\\" \\n \\r \\t \\u{HEX}");
        match self.next() {
            Some(c @ ('"' | '\\')) => Ok(c),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => {
                let mut hex = String::new();
                let mut closed = false;
                if self.peek() == Some('{') {
                    self.next();
                    // No character has more than six digits.
                    while let Some(c) = self.peek().filter(|c| hex.len() < 6 && c.is_ascii_hexdigit()) {
                        hex.push(c);
                        self.next();
                    }
                    closed = self.next() == Some('}');
                }
                let value = u32::from_str_radix(&hex, 16).ok().filter(|_| closed);
                value
                    .and_then(char::from_u32)
                    .ok_or_else(|| error(format!("\\u{{{hex}")))
            }
            Some(c) => Err(error(format!("\\{c}"))),
            None => Err(error("\\".to_owned())),
        }
    }
}
