//! Columns of each view: titles, widths, and which ones are dropped first on a narrow screen.

use crate::viewer::state::{Sort, View};

/// Alignment of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Align {
    /// Left, for names.
    Left,
    /// Right, for numbers.
    Right,
}

/// A column of a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Column {
    /// Title.
    pub(crate) title: &'static str,
    /// `true` if the first sort by this column is descending.
    pub(crate) descending: bool,
    /// Width in characters. A column of names has at least this width, plus its portion of the
    /// remaining space.
    pub(crate) width: u16,
    /// Portion of the remaining space; 0 for a fixed width.
    pub(crate) flex: u16,
    /// Alignment.
    pub(crate) align: Align,
    /// Columns with a higher `drop_order` are dropped first; one with `drop_order` 0 stays.
    pub(crate) drop_order: u8,
}

const fn names(title: &'static str, width: u16, flex: u16, drop_order: u8) -> Column {
    Column {
        title,
        descending: false,
        width,
        flex,
        align: Align::Left,
        drop_order,
    }
}

const fn number(title: &'static str, width: u16, drop_order: u8) -> Column {
    Column {
        title,
        descending: true,
        width,
        flex: 0,
        align: Align::Right,
        drop_order,
    }
}

/// A bar: sorted by the copied part.
const fn bar(title: &'static str, width: u16, drop_order: u8) -> Column {
    Column {
        descending: true,
        ..names(title, width, 0, drop_order)
    }
}

/// A size with one decimal has at most ten characters: `1023.9 KiB`.
const SIZE: u16 = 10;

const MAP: &[Column] = &[
    names("from", 16, 3, 0),
    names("path", 18, 3, 1),
    names("to", 15, 3, 0),
    bar("= x ?", 10, 2),
    number("bytes", SIZE, 0),
    number("moved", SIZE, 5),
    number("copied", SIZE, 4),
    number("unknown", SIZE, 6),
    number("per s", SIZE, 3),
];

const FLOWS: &[Column] = &[
    names("from", 14, 4, 0),
    names("to", 12, 3, 0),
    names("call", 9, 1, 4),
    number("bytes", SIZE, 0),
    number("moved", SIZE, 3),
    number("copied", SIZE, 1),
    number("unknown", SIZE, 6),
    number("per s", SIZE, 5),
    names("process", 9, 1, 7),
    names("reason", 7, 0, 0),
];

const PROCESSES: &[Column] = &[
    number("pid", 8, 0),
    names("process", 12, 3, 0),
    bar("= x ?", 16, 2),
    number("bytes", SIZE, 0),
    number("moved", SIZE, 3),
    number("copied", SIZE, 1),
    number("unknown", SIZE, 6),
    number("to memory", SIZE, 4),
    number("calls", 11, 5),
];

const PIPES: &[Column] = &[
    number("pipe", 10, 0),
    names("process", 12, 3, 0),
    bar("slots in use", 16, 2),
    number("used", 11, 0),
    number("peak", 5, 3),
    number("bytes", SIZE, 1),
    number("calls", 11, 4),
    number("resized", 7, 6),
    number("idle", 9, 5),
];

const REASONS: &[Column] = &[
    names("code", 6, 0, 0),
    number("bytes", SIZE, 0),
    number("calls", 11, 2),
    number("~ CPU", 9, 1),
    names("reason", 20, 3, 0),
    names("hint", 24, 3, 3),
];

const SEGMENTS: &[Column] = &[
    number("segment", 8, 0),
    names("call", 9, 1, 2),
    names("call site", 16, 4, 0),
    number("bytes", SIZE, 0),
    names("range", 17, 1, 4),
    number("pipe", 9, 3),
    names("process", 9, 1, 5),
    names("journal", 12, 0, 1),
];

const LOG: &[Column] = &[];

/// Returns the columns of a view in screen order; [`Sort::column`] is an index into it. Empty if
/// the view cannot be sorted.
pub(crate) fn columns(view: View) -> &'static [Column] {
    match view {
        View::Map => MAP,
        View::Flows => FLOWS,
        View::Processes => PROCESSES,
        View::Pipes => PIPES,
        View::Reasons => REASONS,
        View::Segments => SEGMENTS,
        View::Log => LOG,
    }
}

/// Returns the default sort of a view: most bytes first, fullest pipes first, the log in order of
/// arrival.
pub(crate) fn default_sort(view: View) -> Sort {
    let title = if view == View::Pipes { "used" } else { "bytes" };
    let column = columns(view).iter().position(|column| column.title == title);
    Sort {
        column: column.unwrap_or(0),
        descending: true,
    }
}
