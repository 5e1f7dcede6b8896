//! Why bytes were copied, or why nobody can say: the one table of reasons, as plain data.
//!
//! Everything that explains a copy, this crate's receipts and counts as well as zctrace's reports, takes its words from
//! here, so that one cause has one code, one sentence and one advice wherever it is met. `zctrace explain ZC03` prints a
//! row of it.

use std::fmt;

/// What a [`Reason`] explains.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Bytes were shown to be copied.
    Copy,
    /// Nobody can say whether bytes were copied.
    Unknown,
}

/// Why bytes were copied, or why it is not known whether they were.
///
/// Codes are stable: a code is never given a second meaning, and a reason that goes out of use keeps its code.
///
/// ```
/// use bufferlist::Reason;
///
/// let reason = Reason::PageCacheSink;
/// assert_eq!(reason.code(), "ZC03");
/// assert_eq!(Reason::from_code("zc03"), Some(reason));
/// println!("{reason}: {} {}", reason.sentence(), reason.advice());
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// `ZC01`: fewer bytes than a splice is worth.
    BelowThreshold,
    /// `ZC02`: one of the two ends cannot splice.
    CannotSplice,
    /// `ZC03`: the page cache keeps its own copy.
    PageCacheSink,
    /// `ZC04`: no pipe was to be had.
    NoPipe,
    /// `ZC05`: splice, tee or vmsplice is forbidden here.
    Forbidden,
    /// `ZC06`: the file is open for appending.
    AppendSink,
    /// `ZC07`: a buffer or a length is not aligned.
    Misaligned,
    /// `ZC08`: a pipe full of tiny pieces was rewritten.
    Defragmented,
    /// `ZC09`: the sink keeps message borders.
    MessageSink,
    /// `ZC10`: small writes, such as response headers.
    SmallWrite,
    /// `ZC14`: written from the program's own memory.
    FromMemory,
    /// `ZC15`: read into the program's own memory.
    IntoMemory,
    /// `ZC20`: the kernel copied on the way.
    KernelCopies,
    /// `ZC31`: a look at bytes that were in the kernel.
    LookedAt,
    /// `ZC32`: bytes were made private.
    Stabilized,
    /// `ZC33`: bytes were rebuilt to an alignment.
    Rebuilt,
    /// `ZC90`: still queued when watching stopped.
    StillQueued,
    /// `ZC91`: the oracle has not shown this pair of ends.
    NotShown,
    /// `ZC92`: a device reads or writes the pages itself.
    DirectDevice,
    /// `ZC93`: it depends on how the peer sent them.
    PeerDependent,
    /// `ZC94`: a network device lies between.
    BeyondThisHost,
    /// `ZC95`: records were lost while watching.
    LostRecords,
    /// `ZC96`: this kernel does not show it.
    NotObserved,
    /// `ZC97`: sums over pages differ between two stations.
    SumsDiffer,
    /// `ZC98`: bytes were counted, pages not looked at.
    OnlyCounted,
}

/// One row: the reason, its code, label, class, sentence and advice.
type Row = (Reason, &'static str, &'static str, Class, &'static str, &'static str);

/// In the order of the enum, which a test checks, so that a reason is its own index.
const TABLE: [Row; 25] = [
    (
        Reason::BelowThreshold,
        "ZC01",
        "too small",
        Class::Copy,
        "Fewer bytes were asked for than a splice is worth, so they were copied on purpose.",
        "Nothing to do; to splice all the same, lower the threshold of the source.",
    ),
    (
        Reason::CannotSplice,
        "ZC02",
        "no splice",
        Class::Copy,
        "The kernel refused to splice this kind of file (EINVAL, ENOSYS or EOPNOTSUPP), so the bytes went through memory.",
        "Use a regular file, a pipe, or a TCP or UNIX stream socket at that end.",
    ),
    (
        Reason::PageCacheSink,
        "ZC03",
        "page cache",
        Class::Copy,
        "The sink is a buffered file: the page cache keeps its own copy of what is written to it.",
        "Open the file with O_DIRECT, and send block-aligned pieces; or accept the one copy.",
    ),
    (
        Reason::NoPipe,
        "ZC04",
        "no pipe",
        Class::Copy,
        "No pipe was to be had: the limit on open files, on the pool or on pipe pages was reached.",
        "Raise RLIMIT_NOFILE, /proc/sys/fs/pipe-user-pages-soft or the pool's bounds, or run fewer transfers at a time.",
    ),
    (
        Reason::Forbidden,
        "ZC05",
        "forbidden",
        Class::Copy,
        "The system refused splice, tee or vmsplice to this process (EPERM or EACCES), as seccomp filters do.",
        "Allow splice(2), tee(2) and vmsplice(2) in the seccomp profile of the container or service.",
    ),
    (
        Reason::AppendSink,
        "ZC06",
        "appending",
        Class::Copy,
        "The sink is open with O_APPEND, into which the kernel does not splice.",
        "Open the file without O_APPEND and give the offset.",
    ),
    (
        Reason::Misaligned,
        "ZC07",
        "misaligned",
        Class::Copy,
        "A buffer, an offset or a length was not a multiple of the block size that direct I/O needs.",
        "Rebuild the list to the alignment first, or set the sender's TCP_MAXSEG so that segments hold whole pages.",
    ),
    (
        Reason::Defragmented,
        "ZC08",
        "fragments",
        Class::Copy,
        "A pipe was full of tiny pieces, one slot each, and was rewritten into whole pages.",
        "Send larger pieces, or turn off what cuts them (TCP_NODELAY with small writes).",
    ),
    (
        Reason::MessageSink,
        "ZC09",
        "messages",
        Class::Copy,
        "The sink keeps messages apart (UDP, datagram and seqpacket sockets), and a splice would cut them or lose them.",
        "Nothing to do; for data without borders use a stream socket.",
    ),
    (
        Reason::SmallWrite,
        "ZC10",
        "small",
        Class::Copy,
        "Small writes from the program's memory, such as response headers.",
        "Nothing to do while their share of the bytes is small.",
    ),
    (
        Reason::FromMemory,
        "ZC14",
        "own memory",
        Class::Copy,
        "The bytes were written from the program's own memory.",
        "If they came from a file or socket, move them by splice or sendfile; if the program made them, put them into Pages.",
    ),
    (
        Reason::IntoMemory,
        "ZC15",
        "to memory",
        Class::Copy,
        "The bytes were read into the program's own memory.",
        "If the program only passes them on, move them by splice or sendfile instead.",
    ),
    (
        Reason::KernelCopies,
        "ZC20",
        "the kernel",
        Class::Copy,
        "This kernel copies between this pair of ends, as the mutation oracle showed.",
        "Choose another pair of ends: `bufferlist::oracle` prints which share pages here.",
    ),
    (
        Reason::LookedAt,
        "ZC31",
        "a look",
        Class::Copy,
        "The program looked at bytes that were in the kernel. A look copies what is looked at.",
        "Look at less (a header, not the body), or look before the bytes go into a pipe.",
    ),
    (
        Reason::Stabilized,
        "ZC32",
        "stabilized",
        Class::Copy,
        "The bytes were made private, so that nobody can change them under the program.",
        "Nothing to do if that was wanted; otherwise take `stabilize` out.",
    ),
    (
        Reason::Rebuilt,
        "ZC33",
        "rebuilt",
        Class::Copy,
        "Segments were rebuilt to the alignment that was asked for.",
        "Read from page-aligned offsets, and build headers in whole pages.",
    ),
    (
        Reason::StillQueued,
        "ZC90",
        "queued",
        Class::Unknown,
        "The bytes were still queued in a socket when watching stopped.",
        "Nothing to do: not a fault. Watch longer to see them leave.",
    ),
    (
        Reason::NotShown,
        "ZC91",
        "not shown",
        Class::Unknown,
        "The mutation oracle has not shown on this boot whether this pair of ends shares pages.",
        "Ask `bufferlist::oracle::probe_in` in a directory of the same filesystem.",
    ),
    (
        Reason::DirectDevice,
        "ZC92",
        "the device",
        Class::Unknown,
        "One end is a file open with O_DIRECT: the device reads or writes the pages itself, which a library cannot see.",
        "Nothing to do; only tracing in the kernel can see the pages on their way to the device.",
    ),
    (
        Reason::PeerDependent,
        "ZC93",
        "the peer",
        Class::Unknown,
        "The bytes came from a UNIX socket: pages that the peer spliced are passed on, bytes that it wrote are copied.",
        "Nothing to do; only tracing both processes in the kernel can tell.",
    ),
    (
        Reason::BeyondThisHost,
        "ZC94",
        "remote",
        Class::Unknown,
        "The peer is on another host: whether the network device takes pages as they are, a library cannot see.",
        "See `ethtool -k` for scatter-gather and checksum offload: without them the kernel copies before it sends.",
    ),
    (
        Reason::LostRecords,
        "ZC95",
        "lost",
        Class::Unknown,
        "Records were lost while watching, and the loss can touch these bytes.",
        "Watch less at a time, or give a larger ring buffer.",
    ),
    (
        Reason::NotObserved,
        "ZC96",
        "unseen",
        Class::Unknown,
        "What happened to these bytes cannot be observed on this kernel.",
        "See the coverage in the report for what is missing here.",
    ),
    (
        Reason::SumsDiffer,
        "ZC97",
        "unequal",
        Class::Unknown,
        "Not all pages that the calls handed over are those that the packets carried; which ones, sums do not tell.",
        "Watch at level full, which tells page by page.",
    ),
    (
        Reason::OnlyCounted,
        "ZC98",
        "counted",
        Class::Unknown,
        "The level counters adds up bytes, and looks at no page.",
        "Watch at level digest, which looks at all of them, or at level full.",
    ),
];

impl Reason {
    /// The row of the table. The order is checked by a test, so the index is always right.
    const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The stable code, such as `"ZC03"`.
    ///
    /// ```
    /// assert_eq!(bufferlist::Reason::LookedAt.code(), "ZC31");
    /// ```
    pub const fn code(self) -> &'static str {
        self.row().1
    }

    /// The reason in a word or two, ten letters at most, for a table's column.
    ///
    /// ```
    /// assert_eq!(bufferlist::Reason::LookedAt.label(), "a look");
    /// ```
    pub const fn label(self) -> &'static str {
        self.row().2
    }

    /// Whether it explains a copy or the want of knowledge.
    ///
    /// ```
    /// use bufferlist::{Reason, reason::Class};
    /// assert_eq!(Reason::DirectDevice.class(), Class::Unknown);
    /// ```
    pub const fn class(self) -> Class {
        self.row().3
    }

    /// What happened, in one sentence.
    ///
    /// ```
    /// assert!(bufferlist::Reason::NoPipe.sentence().ends_with('.'));
    /// ```
    pub const fn sentence(self) -> &'static str {
        self.row().4
    }

    /// What to do about it. "Nothing to do" is an advice.
    ///
    /// ```
    /// assert!(bufferlist::Reason::SmallWrite.advice().starts_with("Nothing to do"));
    /// ```
    pub const fn advice(self) -> &'static str {
        self.row().5
    }

    /// All reasons, in the order of their codes.
    ///
    /// ```
    /// assert!(bufferlist::Reason::all().any(|r| r.code() == "ZC01"));
    /// ```
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// The reason of a code, in capitals or not.
    ///
    /// ```
    /// assert_eq!(bufferlist::Reason::from_code("ZC99"), None);
    /// ```
    pub fn from_code(code: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.1.eq_ignore_ascii_case(code))
            .map(|row| row.0)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_its_own_index_and_codes_rise() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index, "{} is out of order", row.1);
        }
        assert!(TABLE.windows(2).all(|two| two[0].1 < two[1].1));
    }

    #[test]
    fn each_reason_has_one_sentence_and_an_advice() {
        for reason in Reason::all() {
            assert!(reason.sentence().ends_with('.'), "{reason}");
            assert!(reason.advice().ends_with('.'), "{reason}");
            assert!(!reason.label().is_empty() && reason.label().len() <= 10, "{reason}");
            assert!(reason.code().len() == 4 && reason.code().starts_with("ZC"));
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
    }
}
