//! Table of key bindings: the name in the configuration, the keys, the help text, and the context.
//!
//! Help, footer, key handling and configuration are all generated from this table, so they agree.

use crate::viewer::state::View;

/// Command of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Command {
    /// Quits.
    Quit,
    /// Quits and prints the report.
    QuitAndPrint,
    /// Shows the keys.
    Help,
    /// Switches to the next view.
    NextView,
    /// Switches to the previous view.
    PreviousView,
    /// Switches to this view.
    Show(View),
    /// Moves one row up.
    Up,
    /// Moves one row down.
    Down,
    /// Scrolls wide content to the right.
    Left,
    /// Scrolls wide content to the left.
    Right,
    /// Moves one page up.
    PageUp,
    /// Moves one page down.
    PageDown,
    /// Moves to the first row.
    Top,
    /// Moves to the last row.
    Bottom,
    /// Opens the selected row.
    Open,
    /// Closes what was opened last, or clears the filter.
    Back,
    /// Freezes the display, or pauses a replay.
    Pause,
    /// Sorts by the next column.
    Sort,
    /// Reverses the sort order.
    ReverseSort,
    /// Sorts by the column to the left.
    SortLeft,
    /// Sorts by the column to the right.
    SortRight,
    /// Edits the filter.
    Filter,
    /// Exports the view to a file.
    Export,
    /// Switches to the next theme.
    Theme,
    /// Gives the keyboard to the command, or takes it back.
    Keyboard,
    /// Hides or shows the command's terminal.
    TogglePane,
    /// Maximizes the command's terminal.
    EnlargePane,
    /// Doubles the speed of a replay.
    Faster,
    /// Halves the speed of a replay.
    Slower,
    /// Jumps back in a replay.
    SeekBack,
    /// Jumps ahead in a replay.
    SeekAhead,
    /// Redraws the screen.
    Redraw,
    /// Suspends zctrace and restores the terminal until the shell resumes it.
    Suspend,
}

/// Context in which a binding is active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Context {
    /// Always.
    Always,
    /// Views whose rows can be sorted.
    Tables,
    /// Sessions in which zctrace started a command.
    Pane,
    /// Replays.
    Replay,
}

/// Section of the help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Group {
    /// Navigation.
    Move,
    /// Views.
    Views,
    /// Content and appearance.
    Show,
    /// The command's terminal.
    Pane,
    /// Replay of a recording.
    Replay,
    /// zctrace itself.
    Program,
}

impl Group {
    /// All sections, in the order of the help.
    pub(crate) const ALL: [Self; 6] = [
        Self::Move,
        Self::Views,
        Self::Show,
        Self::Pane,
        Self::Replay,
        Self::Program,
    ];

    /// Title of the section.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Move => "Move",
            Self::Views => "Views",
            Self::Show => "Show",
            Self::Pane => "CMD's terminal",
            Self::Replay => "Replay",
            Self::Program => "zctrace",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    /// The command.
    pub(crate) command: Command,
    /// Name of the command in the configuration.
    pub(crate) name: &'static str,
    /// Default keys.
    pub(crate) keys: &'static [&'static str],
    /// Help text.
    pub(crate) help: &'static str,
    /// Footer text; empty if it is not in the footer. Later ones are dropped first on a narrow
    /// screen.
    pub(crate) footer: &'static str,
    /// Context in which it is active.
    pub(crate) context: Context,
    /// Section of the help.
    pub(crate) group: Group,
}

macro_rules! bindings {
    ($( $group:ident $context:ident { $( $command:expr, $name:literal, [$($key:literal),*], $help:literal, $footer:literal; )* } )*) => {
        /// The table of bindings.
        pub(crate) const BINDINGS: &[Binding] = &[$($(Binding {
            command: { use Command::*; $command },
            name: $name,
            keys: &[$($key),*],
            help: $help,
            footer: $footer,
            context: Context::$context,
            group: Group::$group,
        },)*)*];
    };
}

bindings! {
    Move Always {
        Up, "up", ["up", "k"], "up one row", "";
        Down, "down", ["down", "j"], "down one row", "";
        PageUp, "page-up", ["pageup", "ctrl-b"], "up one page", "";
        PageDown, "page-down", ["pagedown", "ctrl-f"], "down one page", "";
        Top, "top", ["home", "g"], "first row", "";
        Bottom, "bottom", ["end", "G"], "last row", "";
        Left, "left", ["left", "h"], "scroll wide columns left", "";
        Right, "right", ["right", "l"], "scroll wide columns right", "";
        Open, "open", ["enter"], "open the row: certificate, hints, details", "open";
        Back, "back", ["esc", "backspace"], "back: close the details, or clear the filter", "back";
    }
    Views Always {
        NextView, "next-view", ["tab"], "next view", "view";
        PreviousView, "previous-view", ["backtab"], "previous view", "";
        Show(View::Map), "map", ["1"], "Map: sources and sinks", "";
        Show(View::Flows), "flows", ["2"], "Flows", "";
        Show(View::Processes), "processes", ["3"], "Processes", "";
        Show(View::Pipes), "pipes", ["4"], "Pipes", "";
        Show(View::Reasons), "reasons", ["5"], "Reasons: why bytes were copied, and hints", "";
        Show(View::Segments), "segments", ["6"], "Segments of bufferlists, and peeks", "";
        Show(View::Log), "log", ["7"], "Log: messages of zctrace", "";
    }
    Show Always {
        Filter, "filter", ["/", "f"], "show matching rows only", "filter";
        Pause, "pause", ["space"], "pause the display (tracing continues), or a replay", "pause";
        Export, "export", ["w"], "write the view to a file: *.json, else text", "write";
        Theme, "theme", ["t"], "next theme", "";
        Redraw, "redraw", ["ctrl-l"], "redraw the screen", "";
    }
    Show Tables {
        Sort, "sort", ["s"], "sort by the next column", "sort";
        ReverseSort, "reverse-sort", ["S"], "reverse the sort order", "";
        SortLeft, "sort-left", ["<"], "sort by the column to the left", "";
        SortRight, "sort-right", [">"], "sort by the column to the right", "";
    }
    Pane Pane {
        Keyboard, "keyboard", ["f12", "ctrl-]"], "send keys to CMD, or back to zctrace", "to CMD";
        TogglePane, "toggle-pane", ["p"], "hide or show the terminal", "";
        EnlargePane, "enlarge-pane", ["z"], "enlarge or shrink the terminal", "";
    }
    Replay Replay {
        Faster, "faster", ["+", "="], "faster", "faster";
        Slower, "slower", ["-"], "slower", "slower";
        SeekBack, "seek-back", ["["], "seek 10 s back", "seek";
        SeekAhead, "seek-ahead", ["]"], "seek 10 s ahead", "";
    }
    Program Always {
        Help, "help", ["?", "f1"], "show the keys", "keys";
        Suspend, "suspend", ["ctrl-z"], "suspend; `fg` in the shell continues", "";
        Quit, "quit", ["q", "ctrl-c"], "quit", "quit";
        QuitAndPrint, "quit-and-print", ["Q"], "quit, and print the report", "";
    }
}
