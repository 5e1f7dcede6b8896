//! A line that is being typed.

/// What the line is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// A filter; it holds while it is typed.
    Filter,
    /// The name of a file to export to.
    Export,
}

/// A line that is being typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Prompt {
    /// What for.
    pub(crate) purpose: Purpose,
    /// The text so far.
    pub(crate) text: String,
    /// Where the next character goes: in bytes, always between two characters.
    pub(crate) cursor: usize,
}

/// What a key does to the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Edit {
    /// Types a character.
    Insert(char),
    /// Takes away the character before the cursor.
    Backspace,
    /// Takes away the character after it.
    Delete,
    /// Takes away the word before it.
    DeleteWord,
    /// Takes away all before it.
    DeleteToStart,
    /// One to the left.
    Left,
    /// One to the right.
    Right,
    /// To the first.
    Home,
    /// Behind the last.
    End,
}

/// A line is no longer than this, in bytes.
const MAX_LEN: usize = 1024;

impl Prompt {
    /// A line with this text, and the cursor behind it.
    pub(crate) fn new(purpose: Purpose, text: &str) -> Self {
        Self {
            purpose,
            text: text.to_owned(),
            cursor: text.len(),
        }
    }

    /// Changes it.
    pub(crate) fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Insert(c) => {
                if self.text.len() + c.len_utf8() <= MAX_LEN && !c.is_control() {
                    self.text.insert(self.cursor, c);
                    self.cursor += c.len_utf8();
                }
            }
            Edit::Backspace => {
                let end = self.cursor;
                self.edit(Edit::Left);
                self.text.replace_range(self.cursor..end, "");
            }
            Edit::Delete => {
                let end = self.after();
                self.text.replace_range(self.cursor..end, "");
            }
            Edit::DeleteWord => {
                let before = &self.text[..self.cursor];
                let word = before.trim_end();
                let start = word.rfind(char::is_whitespace).map_or(0, |space| space + 1);
                // What is left of it begins with a whole character, for a space is one byte or `rfind` would not say so.
                let start = (start..=self.cursor)
                    .find(|&at| self.text.is_char_boundary(at))
                    .unwrap_or(self.cursor);
                self.text.replace_range(start..self.cursor, "");
                self.cursor = start;
            }
            Edit::DeleteToStart => {
                self.text.replace_range(..self.cursor, "");
                self.cursor = 0;
            }
            Edit::Left => {
                let before = self.text[..self.cursor].char_indices().next_back();
                self.cursor = before.map_or(0, |(at, _)| at);
            }
            Edit::Right => self.cursor = self.after(),
            Edit::Home => self.cursor = 0,
            Edit::End => self.cursor = self.text.len(),
        }
    }

    /// Where the character after the cursor ends.
    fn after(&self) -> usize {
        let next = self.text[self.cursor..].chars().next();
        self.cursor + next.map_or(0, char::len_utf8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_by_characters_and_words() {
        let mut line = Prompt::new(Purpose::Filter, "to=tcp ä");
        let mut after = |edits: &[Edit]| {
            for &edit in edits {
                line.edit(edit);
            }
            format!("{}|{}", &line.text[..line.cursor], &line.text[line.cursor..])
        };
        assert_eq!(after(&[Edit::Backspace]), "to=tcp |");
        assert_eq!(after(&[Edit::Left, Edit::Left, Edit::Insert('ö')]), "to=tcö|p ");
        assert_eq!(after(&[Edit::Delete, Edit::Home, Edit::Left]), "|to=tcö ");
        assert_eq!(after(&[Edit::Right, Edit::DeleteToStart]), "|o=tcö ");
        assert_eq!(after(&[Edit::Insert('\x1b'), Edit::Backspace]), "|o=tcö ");
        assert_eq!(after(&[Edit::End, Edit::Insert('x'), Edit::DeleteWord]), "o=tcö |");
        assert_eq!(after(&[Edit::DeleteWord, Edit::DeleteWord, Edit::Delete]), "|");
        assert_eq!(
            after(&[
                Edit::Insert('a'),
                Edit::Insert('\u{2003}'),
                Edit::Insert('b'),
                Edit::DeleteWord
            ]),
            "a\u{2003}|"
        );
    }
}
