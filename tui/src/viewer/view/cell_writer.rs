//! Writing text into screen cells; all text passes here. It is sanitized for printing, converted to
//! ASCII if required, and truncated with a mark if it does not fit.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use zctrace_report::format::printable;

use crate::viewer::state::Appearance;
use crate::viewer::theme::{Glyphs, Role, Theme};

/// Writer into a buffer.
pub(super) struct CellWriter<'a> {
    buffer: &'a mut Buffer,
    theme: Theme,
    glyphs: Glyphs,
}

/// Alignment of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// Left; a text that is too long loses its end.
    Left,
    /// Right.
    Right,
}

impl<'a> CellWriter<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, appearance: Appearance) -> Self {
        Self {
            buffer,
            theme: Theme::new(appearance.theme, appearance.true_color),
            glyphs: Glyphs::new(appearance.ascii),
        }
    }

    pub(super) fn glyphs(&self) -> Glyphs {
        self.glyphs
    }

    pub(super) fn style(&self, role: Role) -> Style {
        self.theme.style(role)
    }

    pub(super) fn buffer(&mut self) -> &mut Buffer {
        self.buffer
    }

    /// Writes a text at the left of a line of the area and returns the rest of that line.
    pub(super) fn write(&mut self, area: Rect, text: &str, role: Role) -> Rect {
        let style = self.style(role);
        self.write_styled(area, text, style)
    }

    fn write_styled(&mut self, area: Rect, text: &str, style: Style) -> Rect {
        let area = area.intersection(self.buffer.area);
        if area.is_empty() {
            return area;
        }
        let text = self.truncate(text, area.width.into());
        let wide = (text.width() as u16).min(area.width);
        self.buffer.set_stringn(area.x, area.y, &text, area.width.into(), style);
        Rect::new(area.x + wide, area.y, area.width - wide, area.height)
    }

    /// Writes an aligned text into a line of the area.
    pub(super) fn write_aligned(&mut self, area: Rect, text: &str, side: Side, role: Role) {
        let area = area.intersection(self.buffer.area);
        let text = self.truncate(text, area.width.into());
        let wide = (text.width() as u16).min(area.width);
        let x = match side {
            Side::Left => area.x,
            Side::Right => area.x + (area.width - wide),
        };
        self.write(Rect::new(x, area.y, wide, area.height.min(1)), &text, role);
    }

    /// Writes several texts in sequence and returns the rest of the line.
    pub(super) fn write_spans<'t>(
        &mut self,
        area: Rect,
        pieces: impl IntoIterator<Item = (Cow<'t, str>, Role)>,
    ) -> Rect {
        let mut left = area;
        for (text, role) in pieces {
            let before = left;
            left = self.write(left, &text, role);
            // The previous text ended exactly at the limit: the mark shows that more was cut off.
            if before.width == 0 && area.width > 0 && !text.is_empty() {
                let last = Rect::new(area.right() - 1, area.y, 1, 1);
                self.write(last, self.glyphs.ellipsis(), role);
                break;
            }
        }
        left
    }

    /// Applies the style of a role to all cells of an area.
    pub(super) fn paint(&mut self, area: Rect, role: Role) {
        let style = Style::reset().patch(self.style(role));
        self.buffer.set_style(area, style);
    }

    /// Returns a text as drawn in this many columns.
    pub(super) fn truncate<'t>(&self, text: &'t str, room: usize) -> Cow<'t, str> {
        let clean = self.sanitize(text);
        if clean.width() <= room {
            return clean;
        }
        let mark = self.glyphs.ellipsis();
        let mut cut = prefix(&clean, room.saturating_sub(1)).to_owned();
        if room > 0 {
            cut.push_str(mark);
        }
        Cow::Owned(cut)
    }

    /// Returns a text without its first columns, with a mark in their place.
    pub(super) fn scrolled<'t>(&self, text: &'t str, h_scroll: u16, room: usize) -> Cow<'t, str> {
        let h_scroll = usize::from(h_scroll);
        if h_scroll == 0 {
            return Cow::Borrowed(text);
        }
        let clean = self.sanitize(text);
        // Not beyond the end: the last columns stay visible.
        let most = clean.width().saturating_sub(room);
        let gone = h_scroll.min(most);
        if gone == 0 {
            return clean;
        }
        let skipped = prefix(&clean, gone + 1).len();
        let rest = &clean[skipped..];
        Cow::Owned(format!("{}{rest}", self.glyphs.ellipsis()))
    }

    /// Returns a text without control sequences, in the allowed character set.
    fn sanitize<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match printable(text) {
            Cow::Borrowed(text) => match self.glyphs.text(text) {
                Cow::Borrowed(_) => Cow::Borrowed(text),
                Cow::Owned(plain) => Cow::Owned(plain),
            },
            Cow::Owned(text) => Cow::Owned(self.glyphs.text(&text).into_owned()),
        }
    }
}

/// Returns the longest prefix of a text that fits into this many columns.
pub(super) fn prefix(text: &str, room: usize) -> &str {
    let mut wide = 0;
    for (at, c) in text.char_indices() {
        wide += c.width().unwrap_or(0);
        if wide > room {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::viewer::theme::ThemeName;

    fn looks(ascii: bool) -> Appearance {
        Appearance {
            theme: ThemeName::Dark,
            ascii,
            true_color: false,
        }
    }

    fn truncated(text: &str, room: usize, ascii: bool) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 1, 1));
        CellWriter::new(&mut buffer, looks(ascii))
            .truncate(text, room)
            .into_owned()
    }

    #[test]
    fn truncation_is_marked_and_keeps_wide_characters_whole() {
        assert_eq!(truncated("abcdef", 6, false), "abcdef");
        assert_eq!(truncated("abcdef", 5, false), "abcd…");
        assert_eq!(truncated("abcdef", 5, true), "abcd>");
        assert_eq!(truncated("日本語", 5, false), "日本…");
        assert_eq!(truncated("日本語", 4, false), "日…");
        assert_eq!(
            (truncated("ab", 1, false), truncated("ab", 0, false)),
            ("…".to_owned(), String::new())
        );
        assert_eq!(truncated("a\u{1b}[2Jb", 9, false), "a\u{fffd}[2Jb");
    }

    #[test]
    fn scrolling_stops_at_the_end() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 1, 1));
        let writer = CellWriter::new(&mut buffer, looks(false));
        let shown = |h_scroll| {
            writer
                .truncate(&writer.scrolled("0123456789", h_scroll, 4), 4)
                .into_owned()
        };
        assert_eq!(
            (shown(0), shown(2), shown(6)),
            ("012…".into(), "…34…".into(), "…789".into())
        );
        assert_eq!(shown(500), "…789");
        assert_eq!(
            writer.scrolled("abc", 8, 4),
            "abc",
            "nothing is hidden, so nothing moves"
        );
    }

    proptest! {
        #[test]
        fn text_never_exceeds_its_width(text in "\\PC{0,30}|[\\x00-\\x20\u{202e}\u{301}日a]{0,20}", room in 0..20_usize, ascii: bool) {
            let shown = truncated(&text, room, ascii);
            prop_assert!(shown.width() <= room, "{:?}", shown);
            prop_assert!(!shown.contains(char::is_control));
            prop_assert!(!ascii || shown.is_ascii());
        }
    }
}
