//! A look: the program copied bytes out of a flow to see them, while they went on by themselves.

use serde::{Deserialize, Serialize};
use zctrace_contract::Reason;

use super::cause::{CallSite, ReasonCode};

/// Looks from one place in the program at one flow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Peek {
    /// The flow that was looked at, by number; absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u64>,
    /// The reason's code.
    pub code: ReasonCode,
    /// Bytes that were copied out.
    pub bytes: u64,
    /// Number of looks.
    #[serde(default)]
    pub calls: u64,
    /// Where in the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_site: Option<CallSite>,
    /// What the program called, such as `to_bytes`; empty if not known.
    #[serde(default)]
    pub operation: String,
    /// How the bytes were got, by system call, such as `tee(2) then read(2)`; empty if not known.
    #[serde(default)]
    pub method: String,
    /// The bufferlist segment that was looked at; absent if several, or if it was no bufferlist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    /// The part of that segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<ByteRange>,
    /// Whether no pipe took part: a look at a part of a file, for one, which reads the file. Then this is the program's own word
    /// (a fact of its ledger, by its journal): no record of the kernel proves it but the plain reads of that file, which are
    /// counted apart. It belongs to no flow, and no verdict is ever made of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_pipe: bool,
    /// The process, as numbered in the initial PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The thread's name; empty if not known or several.
    #[serde(default)]
    pub thread: String,
    /// When it was first done: milliseconds since 1970-01-01 00:00 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_unix_ms: Option<u64>,
}

impl Peek {
    /// `bytes` looked at in `calls` looks.
    ///
    /// ```
    /// use std::panic::Location;
    /// let mut look = zctrace_report::Peek::new(65_536, 1);
    /// look.call_site = Some(Location::caller().into());
    /// assert_eq!(look.code.as_str(), "ZC31");
    /// ```
    pub fn new(bytes: u64, calls: u64) -> Self {
        Self {
            flow: None,
            code: Reason::Peeked.into(),
            bytes,
            calls,
            call_site: None,
            operation: String::new(),
            method: String::new(),
            segment: None,
            range: None,
            without_pipe: false,
            pid: None,
            thread: String::new(),
            first_unix_ms: None,
        }
    }
}

/// Bytes `start..end` of a segment: `start` is the first, `end` is one past the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl From<std::ops::Range<u64>> for ByteRange {
    fn from(range: std::ops::Range<u64>) -> Self {
        Self {
            start: range.start,
            end: range.end,
        }
    }
}
