//! The input line.

/// Purpose of the input line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// A filter; it takes effect while it is typed.
    Filter,
    /// The name of a file to export to.
    Export,
}

/// The input line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Prompt {
    /// Purpose.
    pub(crate) purpose: Purpose,
    /// Current text.
    pub(crate) text: String,
    /// Insertion point as a byte offset, always on a character boundary.
    pub(crate) cursor: usize,
}

/// An edit of the input line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Edit {
    /// Inserts a character.
    Insert(char),
    /// Deletes the character before the cursor.
    Backspace,
    /// Deletes the character after the cursor.
    Delete,
    /// Deletes the word before the cursor.
    DeleteWord,
    /// Deletes everything before the cursor.
    DeleteToStart,
    /// Moves left by one character.
    Left,
    /// Moves right by one character.
    Right,
    /// Moves to the start.
    Home,
    /// Moves to the end.
    End,
}

/// Maximum length of the line in bytes.
const MAX_LEN: usize = 1024;

impl Prompt {
    /// Creates a line with this text and the cursor at its end.
    pub(crate) fn new(purpose: Purpose, text: &str) -> Self {
        Self {
            purpose,
            text: text.to_owned(),
            cursor: text.len(),
        }
    }

    /// Applies an edit.
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
                // The rest starts on a character boundary, because `rfind` matched a space, which
                // is one byte.
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

    /// Returns the end of the character after the cursor.
    fn after(&self) -> usize {
        let next = self.text[self.cursor..].chars().next();
        self.cursor + next.map_or(0, char::len_utf8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_by_characters_and_words() {
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
