//! What a filter is once it has been read: an expression of tests. It has no two forms that mean the same by their shape
//! alone (an `and` directly in an `and`), so that it is read again as what it was.

use zctrace_report::Verdict;

use super::pattern::Pattern;

/// What the language is, for `--help` and the viewer.
pub(crate) const HELP: &str = "\
A filter is made of tests: FIELD=VALUE, or FIELD!=VALUE, and with numbers also < <= > >=. `and` (or nothing), `or`, `not` and
( ) join them. A word alone is looked for in what the row shows: process, ends, calls, codes; capitals do not matter.
  process pid   who gave the bytes to their last station         process=nginx  pid=812
  from to kind  an end, as in assert's --to: KIND or KIND:GLOB   to=tcp::443  from=file:/srv/*  kind=pipe (either end)
  port path     of either end                                    port=443  path=*.mp4
  call code     a call, a reason                                 call=sendfile  code=ZC1*
  verdict       moved, copied, unknown, mixed or nothing, of all bytes of the flow
  bytes moved copied unknown neither looked                      copied>0  bytes>=64K
  calls flow    number of calls, number of the flow              flow=3
Pipes have words, process, pid, calls and bytes (in them now), lines of the log have words: a filter that asks for more shows all.
`*` is any text and `?` any one character; a value with spaces or brackets is written in \"quotes\".";

/// An expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Expression {
    /// One test.
    Test(Test),
    /// What does not fit this.
    Not(Box<Expression>),
    /// What fits all of these: two at least, none of them an `And`.
    And(Vec<Expression>),
    /// What fits one of these: two at least, none of them an `Or`.
    Or(Vec<Expression>),
}

impl Expression {
    /// All of these. There is one at least.
    pub(super) fn and(list: Vec<Self>) -> Self {
        Self::join(list, Self::And, |expression| match expression {
            Self::And(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// One of these. There is one at least.
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
    /// A word alone: it stands somewhere in a name, a call or a code.
    Word(String),
    /// The name of the process fits.
    Process(String),
    /// The name of one of the two ends fits.
    Path(String),
    /// A call that carried the bytes fits.
    Call(String),
    /// A reason fits.
    Code(String),
    /// An end fits.
    End(Side, Pattern),
    /// What can be said of all bytes.
    Verdict(Verdict),
    /// A number compares so.
    Number(NumericField, Comparison, u64),
}

/// Which end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// Where the bytes came from.
    From,
    /// Where they arrived.
    To,
    /// One of the two.
    Either,
}

/// Makes an enum whose variants have words.
macro_rules! keyword_enum {
    ($(#[$doc:meta])* $name:ident { $( $(#[$variant_doc:meta])* $variant:ident = $word:literal, )+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum $name { $( $(#[$variant_doc])* $variant, )+ }

        impl $name {
            /// All of them.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it.
            pub(super) const fn keyword(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The one of this word.
            pub(super) fn from_keyword(keyword: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|variant| variant.keyword() == keyword)
            }
        }
    };
}

keyword_enum! {
    /// A number of a flow.
    NumericField {
        /// The process.
        Pid = "pid",
        /// The port of an end: of a service if that is known.
        Port = "port",
        /// The flow's own number.
        Flow = "flow",
        /// Calls.
        Calls = "calls",
        /// All bytes.
        Bytes = "bytes",
        /// Of these: moved.
        Moved = "moved",
        /// Copied.
        Copied = "copied",
        /// Unknown.
        Unknown = "unknown",
        /// Neither.
        Neither = "neither",
        /// Copied out on the way.
        Looked = "looked",
    }
}

impl NumericField {
    /// Whether it is a number of bytes, so that units may follow.
    pub(super) const fn is_bytes(self) -> bool {
        !matches!(self, Self::Pid | Self::Port | Self::Flow | Self::Calls)
    }
}

keyword_enum! {
    /// How numbers are compared.
    Comparison {
        /// The same.
        Equal = "=",
        /// Less.
        Less = "<",
        /// Less or the same.
        AtMost = "<=",
        /// More.
        More = ">",
        /// More or the same.
        AtLeast = ">=",
    }
}

impl Comparison {
    /// Whether `number` compares so with `with`.
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

/// The verdicts, by their words.
pub(super) const VERDICTS: [Verdict; 5] = [
    Verdict::Moved,
    Verdict::Copied,
    Verdict::Unknown,
    Verdict::Mixed,
    Verdict::Nothing,
];
