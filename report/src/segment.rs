//! Segments of bufferlists, by name: the parts of a program's lists to which the bytes of a flow
//! belonged.
//!
//! Names come from the journals that programs with `bufferlist` write while a tracer is attached.
//! Outcomes come from the kernel's records alone. The engine compares both call by call, and the
//! report states whether they agree.

use serde::{Deserialize, Serialize};

use super::cause::CallSite;
use super::open_enum::open_enum;
use super::peek::ByteRange;

open_enum! {
    /// Result of comparing a program's journal of its pipes with the kernel's records.
    pub enum JournalAgreement {
        /// Each journal entry corresponds to a call that probes observed, with equal pipe, thread,
        /// length and position in the pipe's stream.
        Agrees = "agrees",
        /// The journal and the kernel's records contradict each other, so one of them is wrong.
        Disagrees = "disagrees",
        /// One side is incomplete, so a full comparison is not possible.
        Inconclusive = "inconclusive",
    }
}

impl JournalAgreement {
    /// Returns the result for two parts together. A contradiction takes precedence over an
    /// incomplete part, and an incomplete part over agreement.
    ///
    /// ```
    /// use zctrace_report::JournalAgreement::{Agrees, Disagrees, Inconclusive};
    /// assert_eq!(Agrees.and(Inconclusive), Inconclusive);
    /// assert_eq!(Inconclusive.and(Disagrees), Disagrees);
    /// ```
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Disagrees, _) | (_, Self::Disagrees) => Self::Disagrees,
            (Self::Agrees, Self::Agrees) => Self::Agrees,
            _ => Self::Inconclusive,
        }
    }
}

/// Segment that was in a pipe. Segment numbers are unique within one process only.
///
/// In JSON `id` and `bytes` must be present.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Segment {
    /// Number of the segment, as `SegmentId` prints it.
    pub id: u64,
    /// Process, in the initial PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Name of the process; empty if not known.
    #[serde(default)]
    pub process: String,
    /// Bytes of the segment that entered the pipe during tracing, according to the program's
    /// journal.
    pub bytes: u64,
    /// Byte ranges of the segment that entered the pipe.
    #[serde(default)]
    pub ranges: Vec<ByteRange>,
    /// Number of the flow that the bytes belong to; absent if they were not delivered, or in
    /// several flows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u64>,
    /// Operation that created the segment: `fill` from a source, `vmsplice` of memory by reference,
    /// `tee` of another segment, or `split`.
    #[serde(default)]
    pub operation: String,
    /// Call site that created the segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_site: Option<CallSite>,
    /// Inode number of the segment's pipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipe: Option<u64>,
    /// Result of comparing the journal with the kernel's records.
    pub agreement: JournalAgreement,
    /// Reason why they do not agree or cannot be compared, in one sentence; empty if they agree.
    #[serde(default)]
    pub detail: String,
}

impl Segment {
    /// Creates a segment of which only number and length are known.
    pub fn new(id: u64, bytes: u64) -> Self {
        Self {
            id,
            pid: None,
            process: String::new(),
            bytes,
            ranges: Vec::new(),
            flow: None,
            operation: String::new(),
            call_site: None,
            pipe: None,
            agreement: JournalAgreement::Inconclusive,
            detail: String::new(),
        }
    }
}

/// Segments to which the bytes of one station of a certificate belonged.
///
/// In JSON `bytes`, `count` and `agreement` must be present.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SegmentNames {
    /// Bytes of the station whose segment is known. If the station has more bytes, `detail` gives
    /// the reason.
    pub bytes: u64,
    /// Number of segments.
    pub count: u64,
    /// Segment numbers in ascending order. If there are many, only the first ones are listed.
    #[serde(default)]
    pub ids: Vec<u64>,
    /// Process to which the segment numbers belong, in the initial PID namespace; absent if there
    /// are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Result of comparing the journal with the kernel's records.
    pub agreement: JournalAgreement,
    /// Reason why they do not agree or cannot be compared, in one sentence; empty if they agree.
    #[serde(default)]
    pub detail: String,
}

impl SegmentNames {
    /// Returns the names as text, such as `segment 17` or `segments 17, 18 and 40 more`.
    ///
    /// ```
    /// use zctrace_report::{JournalAgreement, SegmentNames};
    /// let mut names = SegmentNames {
    ///     bytes: 10, count: 1, ids: vec![17], pid: None, agreement: JournalAgreement::Agrees, detail: String::new(),
    /// };
    /// assert_eq!(names.text(), "segment 17");
    /// (names.ids, names.count) = (vec![17, 18], 42);
    /// assert_eq!(names.text(), "segments 17, 18 and 40 more");
    /// ```
    pub fn text(&self) -> String {
        /// Largest number of segment numbers in the text. Longer lists are of no use to a reader.
        const SHOWN: usize = 8;
        let shown: Vec<String> = self.ids.iter().take(SHOWN).map(ToString::to_string).collect();
        let more = self.count.saturating_sub(shown.len() as u64);
        let plural = if self.count == 1 { "" } else { "s" };
        let shown = shown.join(", ");
        match (more, shown.as_str()) {
            (0, shown) => format!("segment{plural} {shown}"),
            (more, "") => format!("{more} segment{plural}"),
            (more, shown) => format!("segment{plural} {shown} and {more} more"),
        }
    }
}
