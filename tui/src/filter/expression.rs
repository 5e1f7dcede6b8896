//! A parsed filter: an expression of tests. No two expressions of different shape mean the same by
//! nesting alone (an `and` directly in an `and`), so that a formatted expression is parsed to
//! itself.

use zctrace_report::Verdict;

use super::pattern::Pattern;

/// Description of the language, for `--help` and the viewer.
pub(crate) const HELP: &str = "\
A filter consists of tests: FIELD=VALUE or FIELD!=VALUE, and for numbers also < <= > >=. `and` (or nothing), `or`, `not` and
( ) combine them. A word alone is searched in what the row shows: process, endpoints, calls, codes; case is ignored.
  process pid   the process that delivered the bytes             process=nginx  pid=812
  from to kind  an endpoint, as in assert's --to: KIND[:GLOB]    to=tcp::443  from=file:/srv/*  kind=pipe (either endpoint)
  port path     of either endpoint                               port=443  path=*.mp4
  call code     a call, a reason                                 call=sendfile  code=ZC1*
  verdict       moved, copied, unknown, mixed or nothing, of all bytes of the flow
  bytes moved copied unknown excluded peeked                     copied>0  bytes>=64K
  calls flow    number of calls, number of the flow              flow=3
Pipes have words, process, pid, calls and bytes (in them now); log lines have words. A filter with other fields shows all of them.
`*` matches any text and `?` any one character; write a value with spaces or parentheses in \"quotes\".";

/// An expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Expression {
    /// One test.
    Test(Test),
    /// Everything that does not match the operand.
    Not(Box<Expression>),
    /// Everything that matches all operands: at least two, none of them an `And`.
    And(Vec<Expression>),
    /// Everything that matches any operand: at least two, none of them an `Or`.
    Or(Vec<Expression>),
}

impl Expression {
    /// Returns the conjunction of at least one expression.
    pub(super) fn and(list: Vec<Self>) -> Self {
        Self::join(list, Self::And, |expression| match expression {
            Self::And(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// Returns the disjunction of at least one expression.
    pub(super) fn or(list: Vec<Self>) -> Self {
        Self::join(list, Self::Or, |expression| match expression {
            Self::Or(inner) => Ok(inner),
            other => Err(other),
        })
    }

    fn join(list: Vec<Self>, make: fn(Vec<Self>) -> Self, flatten: fn(Self) -> Result<Vec<Self>, Self>) -> Self {
        let mut flat = Vec::with_capacity(list.len());
        for expression in list {
            match flatten(expression) {
                Ok(inner) => flat.extend(inner),
                Err(other) => flat.push(other),
            }
        }
        if flat.len() == 1 { flat.remove(0) } else { make(flat) }
    }
}

/// One test of a flow. Texts are never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Test {
    /// A word alone: it occurs in a name, a call or a code.
    Word(String),
    /// The name of the process matches.
    Process(String),
    /// The name of an endpoint matches.
    Path(String),
    /// A call that carried the bytes matches.
    Call(String),
    /// A reason matches.
    Code(String),
    /// An endpoint matches.
    End(Side, Pattern),
    /// The verdict over all bytes matches.
    Verdict(Verdict),
    /// A number compares in this way.
    Number(NumericField, Comparison, u64),
}

/// Endpoints that a test applies to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// The source of the bytes.
    From,
    /// The destination of the bytes.
    To,
    /// Either of them.
    Either,
}

/// Generates an enum whose variants have keywords.
macro_rules! keyword_enum {
    ($(#[$doc:meta])* $name:ident { $( $(#[$variant_doc:meta])* $variant:ident = $word:literal, )+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum $name { $( $(#[$variant_doc])* $variant, )+ }

        impl $name {
            /// All variants.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the keyword.
            pub(super) const fn keyword(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Returns the variant with this keyword.
            pub(super) fn from_keyword(keyword: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|variant| variant.keyword() == keyword)
            }
        }
    };
}

keyword_enum! {
    /// A numeric field of a flow.
    NumericField {
        /// Process ID.
        Pid = "pid",
        /// Port of an endpoint: that of either side of a connection.
        Port = "port",
        /// The flow's own number.
        Flow = "flow",
        /// Number of calls.
        Calls = "calls",
        /// All bytes.
        Bytes = "bytes",
        /// Moved bytes.
        Moved = "moved",
        /// Copied bytes.
        Copied = "copied",
        /// Unknown bytes.
        Unknown = "unknown",
        /// Excluded bytes.
        Excluded = "excluded",
        /// Bytes peeked at on the way.
        Peeked = "peeked",
    }
}

impl NumericField {
    /// Returns whether the field is a number of bytes, so that units may follow.
    pub(super) const fn is_bytes(self) -> bool {
        !matches!(self, Self::Pid | Self::Port | Self::Flow | Self::Calls)
    }
}

keyword_enum! {
    /// A comparison of numbers.
    Comparison {
        /// Equal.
        Equal = "=",
        /// Less.
        Less = "<",
        /// Less or equal.
        AtMost = "<=",
        /// Greater.
        More = ">",
        /// Greater or equal.
        AtLeast = ">=",
    }
}

impl Comparison {
    /// Returns whether `number` compares in this way with `with`.
    pub(super) const fn holds(self, number: u64, operand: u64) -> bool {
        match self {
            Self::Equal => number == operand,
            Self::Less => number < operand,
            Self::AtMost => number <= operand,
            Self::More => number > operand,
            Self::AtLeast => number >= operand,
        }
    }
}

/// The verdicts by their keywords.
pub(super) const VERDICTS: [Verdict; 5] = [
    Verdict::Moved,
    Verdict::Copied,
    Verdict::Unknown,
    Verdict::Mixed,
    Verdict::Nothing,
];
