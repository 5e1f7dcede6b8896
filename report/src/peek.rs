//! Peeks: the program copied bytes of a flow to read them, while the flow itself continued.

use serde::{Deserialize, Serialize};
use zctrace_contract::Reason;

use super::cause::{CallSite, ReasonCode};

/// Peeks at one flow from one call site.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Peek {
    /// Number of the flow; absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u64>,
    /// Code of the reason.
    pub code: ReasonCode,
    /// Bytes that the peeks copied.
    pub bytes: u64,
    /// Number of peeks.
    #[serde(default)]
    pub calls: u64,
    /// Call site in the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_site: Option<CallSite>,
    /// Function that the program called, such as `to_bytes`; empty if not known.
    #[serde(default)]
    pub operation: String,
    /// System calls that copied the bytes, such as `tee(2) then read(2)`; empty if not known.
    #[serde(default)]
    pub method: String,
    /// Bufferlist segment that the program peeked at; absent if there were several, or no
    /// bufferlist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    /// Byte range within the segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<ByteRange>,
    /// True if no pipe was used, for example in a peek at a file extent, which reads the file.
    ///
    /// Such a peek is known only from the program's journal. The kernel's records show it only as
    /// plain reads of that file, which the I/O counters count. The peek belongs to no flow, and no
    /// verdict depends on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_pipe: bool,
    /// Process, in the initial PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Name of the thread; empty if it is not known or if there were several.
    #[serde(default)]
    pub thread: String,
    /// Time of the first peek, in milliseconds since 1970-01-01 00:00 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_unix_ms: Option<u64>,
}

impl Peek {
    /// Creates a row for `calls` peeks that copied `bytes` bytes.
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

/// Byte range `start..end` of a segment. `end` is one past the last byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset one past the last byte.
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
