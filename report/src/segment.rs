//! Segments of bufferlists, by name: which of a program's own pieces the bytes of a flow were.
//!
//! The names come from the journals that programs with `bufferlist` keep for whoever watches them; what became of the bytes
//! comes from the kernel alone. The two are compared call by call, and a report says whether they agree.

use serde::{Deserialize, Serialize};

use super::cause::CallSite;
use super::open_enum::open_enum;
use super::peek::ByteRange;

open_enum! {
    /// Whether the account that a program keeps of its own pipes is the one that the kernel shows.
    pub enum JournalAgreement {
        /// Each entry of the program is a call that the kernel saw, on the same pipe, by the same thread, of as many bytes, at
        /// the same place of the pipe's stream.
        Agrees = "agrees",
        /// The program's account and the kernel's pipe contradict each other: one of the two is wrong.
        Disagrees = "disagrees",
        /// Something is missing on one side, so that they cannot be compared in full.
        Inconclusive = "inconclusive",
    }
}

impl JournalAgreement {
    /// The word for two parts together: a contradiction anywhere is one, and so is a doubt.
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

/// One segment that lay in a pipe. Numbers of segments are the process's own: two processes may use the same.
///
/// In JSON `id` and `bytes` must be present.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Segment {
    /// Its number, as `SegmentId` prints it.
    pub id: u64,
    /// The process, as numbered in the initial PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its name; empty if not known.
    #[serde(default)]
    pub process: String,
    /// Bytes of the segment that the program says it put into the pipe while it was watched.
    pub bytes: u64,
    /// Which bytes of the segment those are.
    #[serde(default)]
    pub ranges: Vec<ByteRange>,
    /// The flow that its bytes are part of, by number; absent if they have not arrived, or in several flows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u64>,
    /// What made it: `fill` from a source, `give` of lent memory, `tee` of another segment.
    #[serde(default)]
    pub operation: String,
    /// The line of the program that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_site: Option<CallSite>,
    /// The inode number of its pipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipe: Option<u64>,
    /// Whether the program's account of it is the kernel's.
    pub agreement: JournalAgreement,
    /// Why they do not agree, or cannot be compared, in one sentence; empty if they agree.
    #[serde(default)]
    pub detail: String,
}

impl Segment {
    /// A segment of which nothing is known yet but its number and how many bytes.
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

/// The segments that the bytes of one station of a certificate were.
///
/// In JSON `bytes`, `count` and `agreement` must be present.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SegmentNames {
    /// Bytes of the station whose segment is known. With fewer than the station has, some are not named, and `why` says why.
    pub bytes: u64,
    /// How many segments they are.
    pub count: u64,
    /// Their numbers, rising; of many only the first ones.
    #[serde(default)]
    pub ids: Vec<u64>,
    /// Whose numbers they are: the process, as numbered in the initial PID namespace; absent if several processes'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Whether the program's account of them is the kernel's.
    pub agreement: JournalAgreement,
    /// Why they do not agree, or cannot be compared, in one sentence; empty if they agree.
    #[serde(default)]
    pub detail: String,
}

impl SegmentNames {
    /// `segment 17`, `segments 17, 18 and 40 more`.
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
        /// More numbers than that tell a reader nothing.
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
