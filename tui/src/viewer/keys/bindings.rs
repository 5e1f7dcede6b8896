//! The one table of what keys do: the name in the configuration, the keys, the words of the help, and where it holds.
//!
//! The help, the footer, the key handling and the configuration are all made from it, so they cannot say different things.

use crate::viewer::state::View;

/// What a key can do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Command {
    /// Ends.
    Quit,
    /// Ends, and prints the report.
    QuitAndPrint,
    /// Shows the keys.
    Help,
    /// The next view.
    NextView,
    /// The view before.
    PreviousView,
    /// This view.
    Show(View),
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// Wide contents to the right.
    Left,
    /// Wide contents to the left.
    Right,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// The first row.
    Top,
    /// The last row.
    Bottom,
    /// Opens the row under the cursor.
    Open,
    /// Closes what was opened last, or takes the filter away.
    Back,
    /// What is shown stands still, or a replay does.
    Pause,
    /// Sorts by the next column.
    Sort,
    /// Turns the order round.
    ReverseSort,
    /// Sorts by the column to the left.
    SortLeft,
    /// Sorts by the column to the right.
    SortRight,
    /// Types a filter.
    Filter,
    /// Writes the view to a file.
    Export,
    /// The next theme.
    Theme,
    /// Gives the keyboard to CMD, or takes it back.
    Keyboard,
    /// Hides or shows CMD's terminal.
    TogglePane,
    /// Gives CMD's terminal most of the screen.
    EnlargePane,
    /// A replay goes faster.
    Faster,
    /// A replay goes slower.
    Slower,
    /// A replay goes back.
    SeekBack,
    /// A replay goes ahead.
    SeekAhead,
    /// Draws everything anew.
    Redraw,
    /// Gives the terminal back until the shell has zctrace go on.
    Suspend,
}

/// Where a command holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Context {
    /// Everywhere.
    Always,
    /// Where rows can be sorted.
    Tables,
    /// If zctrace started a command.
    Pane,
    /// In a replay.
    Replay,
}

/// A group of the help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Group {
    /// Moving about.
    Move,
    /// Which view.
    Views,
    /// What is shown, and how.
    Show,
    /// The terminal of CMD.
    Pane,
    /// A recording.
    Replay,
    /// zctrace.
    Program,
}

impl Group {
    /// In the order of the help.
    pub(crate) const ALL: [Self; 6] = [
        Self::Move,
        Self::Views,
        Self::Show,
        Self::Pane,
        Self::Replay,
        Self::Program,
    ];

    /// What stands above it.
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

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    /// What it does.
    pub(crate) command: Command,
    /// Its name in the configuration.
    pub(crate) name: &'static str,
    /// The keys, unless the configuration says otherwise.
    pub(crate) keys: &'static [&'static str],
    /// What the help says.
    pub(crate) help: &'static str,
    /// What the footer says; nothing if it is not there. The first ones are the last to give way.
    pub(crate) footer: &'static str,
    /// Where it holds.
    pub(crate) context: Context,
    /// In which group of the help.
    pub(crate) group: Group,
}

macro_rules! bindings {
    ($( $group:ident $context:ident { $( $command:expr, $name:literal, [$($key:literal),*], $help:literal, $footer:literal; )* } )*) => {
        /// The table.
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
        Up, "up", ["up", "k"], "one row up", "";
        Down, "down", ["down", "j"], "one row down", "";
        PageUp, "page-up", ["pageup", "ctrl-b"], "a page up", "";
        PageDown, "page-down", ["pagedown", "ctrl-f"], "a page down", "";
        Top, "top", ["home", "g"], "the first row", "";
        Bottom, "bottom", ["end", "G"], "the last row", "";
        Left, "left", ["left", "h"], "wide rows: back to their beginning", "";
        Right, "right", ["right", "l"], "wide rows: on to their end", "";
        Open, "open", ["enter"], "open the row: certificate, advice, details", "open";
        Back, "back", ["esc", "backspace"], "back: close it, or take the filter away", "back";
    }
    Views Always {
        NextView, "next-view", ["tab"], "the next view", "view";
        PreviousView, "previous-view", ["backtab"], "the view before", "";
        Show(View::Map), "map", ["1"], "Map: from where to where", "";
        Show(View::Flows), "flows", ["2"], "Flows", "";
        Show(View::Processes), "processes", ["3"], "Processes", "";
        Show(View::Pipes), "pipes", ["4"], "Pipes", "";
        Show(View::Reasons), "reasons", ["5"], "Reasons: why copied, what to do", "";
        Show(View::Segments), "segments", ["6"], "Segments of bufferlists, and looks", "";
        Show(View::Log), "log", ["7"], "Log: what zctrace has to say", "";
    }
    Show Always {
        Filter, "filter", ["/", "f"], "show only rows that fit a filter", "filter";
        Pause, "pause", ["space"], "hold what is shown (tracing goes on), or a replay", "pause";
        Export, "export", ["w"], "write the view to a file: *.json, else text", "write";
        Theme, "theme", ["t"], "the next theme", "";
        Redraw, "redraw", ["ctrl-l"], "draw everything anew", "";
    }
    Show Tables {
        Sort, "sort", ["s"], "sort by the next column", "sort";
        ReverseSort, "invert", ["S"], "turn the order round", "";
        SortLeft, "sort-left", ["<"], "sort by the column to the left", "";
        SortRight, "sort-right", [">"], "sort by the column to the right", "";
    }
    Pane Pane {
        Keyboard, "keyboard", ["f12", "ctrl-]"], "give the keyboard to CMD, and take it back", "to CMD";
        TogglePane, "toggle-pane", ["p"], "hide or show it", "";
        EnlargePane, "enlarge-pane", ["z"], "give it most of the screen, and take that back", "";
    }
    Replay Replay {
        Faster, "faster", ["+", "="], "faster", "faster";
        Slower, "slower", ["-"], "slower", "slower";
        SeekBack, "seek-back", ["["], "10 s back", "seek";
        SeekAhead, "seek-ahead", ["]"], "10 s ahead", "";
    }
    Program Always {
        Help, "help", ["?", "f1"], "these keys", "keys";
        Suspend, "suspend", ["ctrl-z"], "stop, until the shell's `fg`", "";
        Quit, "quit", ["q", "ctrl-c"], "end", "quit";
        QuitAndPrint, "quit-printing", ["Q"], "end, and print the report", "";
    }
}
