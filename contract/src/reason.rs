//! Reasons: why bytes were copied, or why it is unknown whether they were.
//!
//! [`reasons!`](self) below is the only table. A reason is added by adding a row to it; its code, label, description and
//! advice are then the same in receipts, reports, screens and `zctrace explain`.

use core::fmt;

/// Class of a [`Reason`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Explains bytes that were shown to be copied.
    Copy,
    /// Explains bytes for which neither a copy nor a move was shown.
    Unknown,
}

/// Generates both enums and their texts from one table.
///
/// A row is: variant = number, code, label, class, description, advice.
macro_rules! reasons {
    (
        library { $( #[doc = $ldoc:literal] $lib:ident = $lnum:literal, $lcode:literal, $llabel:literal, $lclass:ident, $ldesc:literal, $ladvice:literal; )+ }
        tracer { $( #[doc = $tdoc:literal] $tracer:ident = $tnum:literal, $tcode:literal, $tlabel:literal, $tclass:ident, $tdesc:literal, $tadvice:literal; )+ }
    ) => {
        /// Reason why bytes were copied, or why it is unknown whether they were.
        ///
        /// Codes are stable: a code never gets a second meaning, and a reason that is no longer used keeps its code.
        /// Reasons are ordered by code.
        ///
        /// ```
        /// use zctrace_contract::Reason;
        ///
        /// let reason = Reason::PageCacheSink;
        /// assert_eq!(reason.code(), "ZC03");
        /// assert_eq!(Reason::from_code("zc03"), Some(reason));
        /// println!("{reason}: {} {}", reason.description(), reason.advice());
        /// ```
        #[non_exhaustive]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum Reason {
            $( #[doc = concat!("`", $lcode, "`: ")] #[doc = $ldoc] $lib = $lnum, )+
            $( #[doc = concat!("`", $tcode, "`: ")] #[doc = $tdoc] $tracer = $tnum, )+
        }

        /// Reason that the library alone can give: those of its receipts and counts.
        ///
        /// Each is also a [`Reason`], with the same code and texts. Reasons that only a tracer can give, such as lost
        /// records, are not among them.
        ///
        /// ```
        /// use zctrace_contract::LibraryReason as Reason;
        ///
        /// let reason = Reason::PageCacheSink;
        /// assert_eq!(reason.code(), "ZC03");
        /// assert_eq!(Reason::from_code("zc03"), Some(reason));
        /// println!("{reason}: {} {}", reason.description(), reason.advice());
        /// ```
        #[non_exhaustive]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum LibraryReason {
            $( #[doc = concat!("`", $lcode, "`: ")] #[doc = $ldoc] $lib = $lnum, )+
        }

        impl From<LibraryReason> for Reason {
            fn from(reason: LibraryReason) -> Self {
                reason.reason()
            }
        }

        impl LibraryReason {
            const ALL: &'static [Self] = &[$( Self::$lib ),+];

            /// Returns the same reason as one of all reasons.
            pub const fn reason(self) -> Reason {
                match self { $( Self::$lib => Reason::$lib, )+ }
            }
        }

        impl Reason {
            /// All of them, in the order of their codes.
            const ALL: [Self; COUNT] = sorted([$( Self::$lib, )+ $( Self::$tracer ),+]);

            const fn row(self) -> &'static Row {
                match self {
                    $( Self::$lib => &Row { code: $lcode, label: $llabel, class: Class::$lclass, description: $ldesc, advice: $ladvice }, )+
                    $( Self::$tracer => &Row { code: $tcode, label: $tlabel, class: Class::$tclass, description: $tdesc, advice: $tadvice }, )+
                }
            }
        }

        const COUNT: usize = [$( $lnum, )+ $( $tnum ),+].len();
    };
}

/// Texts of one reason.
struct Row {
    code: &'static str,
    label: &'static str,
    class: Class,
    description: &'static str,
    advice: &'static str,
}

/// Sorts reasons by code. The two halves of the table interleave: `ZC90` is the tracer's, `ZC91` the library's.
const fn sorted(mut all: [Reason; COUNT]) -> [Reason; COUNT] {
    let mut end = 1;
    while end < COUNT {
        let mut at = end;
        while at > 0 && all[at - 1] as u8 > all[at] as u8 {
            (all[at - 1], all[at]) = (all[at], all[at - 1]);
            at -= 1;
        }
        end += 1;
    }
    all
}

reasons! {
    library {
        /// Fewer bytes than a splice is worth.
        BelowThreshold = 1, "ZC01", "too small", Copy,
            "Fewer bytes were asked for than a splice is worth, so they were copied on purpose.",
            "Nothing to do; to splice all the same, lower the threshold of the source.";
        /// One of the two ends cannot splice.
        CannotSplice = 2, "ZC02", "no splice", Copy,
            "The kernel refused to splice this kind of file (EINVAL, ENOSYS or EOPNOTSUPP), so the bytes went through memory.",
            "Use a regular file, a pipe, or a TCP or UNIX stream socket at that end.";
        /// The page cache keeps its own copy.
        PageCacheSink = 3, "ZC03", "page cache", Copy,
            "The sink is a buffered file: the page cache keeps its own copy of what is written to it.",
            "Open the file with O_DIRECT, and send block-aligned pieces; or accept the one copy.";
        /// No pipe was to be had.
        NoPipe = 4, "ZC04", "no pipe", Copy,
            "No pipe was to be had: the limit on open files, on the pool or on pipe pages was reached.",
            "Raise RLIMIT_NOFILE, /proc/sys/fs/pipe-user-pages-soft or the pool's bounds, or run fewer transfers at a time.";
        /// Splice, tee or vmsplice is forbidden here.
        Forbidden = 5, "ZC05", "forbidden", Copy,
            "The system refused splice, tee or vmsplice to this process (EPERM or EACCES), as seccomp filters do.",
            "Allow splice(2), tee(2) and vmsplice(2) in the seccomp profile of the container or service.";
        /// The file is open for appending.
        AppendSink = 6, "ZC06", "appending", Copy,
            "The sink is open with O_APPEND, into which the kernel does not splice.",
            "Open the file without O_APPEND and give the offset.";
        /// A buffer or a length is not aligned.
        Misaligned = 7, "ZC07", "misaligned", Copy,
            "A buffer, an offset or a length was not a multiple of the block size that direct I/O needs.",
            "Rebuild the list to the alignment first, or set the sender's TCP_MAXSEG so that segments hold whole pages.";
        /// A pipe full of tiny pieces was rewritten.
        Defragmented = 8, "ZC08", "fragments", Copy,
            "A pipe was full of tiny pieces, one slot each, and was rewritten into whole pages.",
            "Send larger pieces, or turn off what cuts them (TCP_NODELAY with small writes).";
        /// The sink keeps message borders.
        MessageSink = 9, "ZC09", "messages", Copy,
            "The sink keeps messages apart (UDP, datagram and seqpacket sockets), and a splice would cut them or lose them.",
            "Nothing to do; for data without borders use a stream socket.";
        /// Small writes, such as response headers.
        SmallWrite = 10, "ZC10", "small", Copy,
            "Small writes from the program's memory, such as response headers.",
            "Nothing to do while their share of the bytes is small.";
        /// Written from the program's own memory.
        FromMemory = 14, "ZC14", "own memory", Copy,
            "The bytes were written from the program's own memory.",
            "If they came from a file or socket, move them by splice or sendfile; if the program made them, put them into Pages.";
        /// Read into the program's own memory.
        IntoMemory = 15, "ZC15", "to memory", Copy,
            "The bytes were read into the program's own memory.",
            "If the program only passes them on, move them by splice or sendfile instead.";
        /// The kernel copied on the way.
        KernelCopies = 20, "ZC20", "the kernel", Copy,
            "This kernel copies between this pair of ends, as the mutation oracle showed.",
            "Choose another pair of ends: `bufferlist::oracle` prints which share pages here.";
        /// A look at bytes that were in the kernel.
        Peeked = 31, "ZC31", "peek", Copy,
            "The program looked at bytes that were in the kernel. A look copies what is looked at.",
            "Look at less (a header, not the body), or look before the bytes go into a pipe.";
        /// Bytes were made private.
        Stabilized = 32, "ZC32", "stabilized", Copy,
            "The bytes were made private, so that nobody can change them under the program.",
            "Nothing to do if that was wanted; otherwise take `stabilize` out.";
        /// Bytes were rebuilt to an alignment.
        Rebuilt = 33, "ZC33", "rebuilt", Copy,
            "Segments were rebuilt to the alignment that was asked for.",
            "Read from page-aligned offsets, and build headers in whole pages.";
        /// The oracle has not shown this pair of ends.
        NotShown = 91, "ZC91", "not shown", Unknown,
            "The mutation oracle has not shown on this boot whether this pair of ends shares pages.",
            "Ask `bufferlist::oracle::probe_in` in a directory of the same filesystem.";
        /// A device reads or writes the pages itself.
        DirectDevice = 92, "ZC92", "the device", Unknown,
            "One end is a file open with O_DIRECT: the device reads or writes the pages itself, which a library cannot see.",
            "Nothing to do; only tracing in the kernel can see the pages on their way to the device.";
        /// It depends on how the peer sent them.
        PeerDependent = 93, "ZC93", "the peer", Unknown,
            "The bytes came from a UNIX socket: pages that the peer spliced are passed on, bytes that it wrote are copied.",
            "Nothing to do; only tracing both processes in the kernel can tell.";
        /// A network device lies between.
        BeyondThisHost = 94, "ZC94", "remote", Unknown,
            "The peer is on another host: whether the network device takes pages as they are, a library cannot see.",
            "See `ethtool -k` for scatter-gather and checksum offload: without them the kernel copies before it sends.";
    }
    tracer {
        /// Still queued when watching stopped.
        StillQueued = 90, "ZC90", "queued", Unknown,
            "The bytes were still queued in a socket when watching stopped.",
            "Nothing to do: not a fault. Watch longer to see them leave.";
        /// Records were lost while watching.
        LostRecords = 95, "ZC95", "lost", Unknown,
            "Records were lost while watching, and the loss can touch these bytes.",
            "Watch less at a time, or give a larger ring buffer.";
        /// This kernel does not show it.
        NotObserved = 96, "ZC96", "unseen", Unknown,
            "What happened to these bytes cannot be observed on this kernel.",
            "See the coverage in the report for what is missing here.";
        /// Sums over pages differ between two stations.
        DigestMismatch = 97, "ZC97", "unequal", Unknown,
            "Not all pages that the calls handed over are those that the packets carried; which ones, sums do not tell.",
            "Watch at level full, which tells page by page.";
        /// Bytes were counted, pages not looked at.
        CountedOnly = 98, "ZC98", "counted", Unknown,
            "The level counters adds up bytes, and looks at no page.",
            "Watch at level digest, which looks at all of them, or at level full.";
        /// An asynchronous request moved the bytes.
        AsyncIo = 84, "ZC84", "async", Unknown,
            "A request of io_uring or Linux AIO moved these bytes, and no probe sees the pages of such a request.",
            "Use the system call (splice, sendfile, send) for what is to be proven, or allow ZC84 where the requests are wanted.";
        /// A pipe's content could not be followed.
        OriginLost = 85, "ZC85", "pipe lost", Unknown,
            "The content of the pipe that the bytes came from could not be followed, so their origin is not known.",
            "The report lists why under \"not covered\": trace every process that uses the pipe, and resize it before it holds bytes.";
        /// The bytes did not leave a pipe through a traced call.
        LeftInPipe = 86, "ZC86", "in a pipe", Unknown,
            "No traced call took the bytes out of the pipe: they are still in it, or a process that is not traced or a call that is not covered took them.",
            "Trace the process at the other end of the pipe too, or trace until the pipe is empty.";
        /// A UNIX socket discarded the bytes unread.
        Unread = 87, "ZC87", "unread", Unknown,
            "The receiving UNIX socket was closed before these bytes were read, so the kernel discarded them.",
            "Nothing to do if the receiver meant to; otherwise let it read until the end of the stream.";
        /// Bytes of a stream that no traced call sent.
        UnseenSender = 88, "ZC88", "no sender", Unknown,
            "The socket's sequence number shows that these bytes were sent, and no traced call sent them.",
            "Trace every process that has the socket open; io_uring and 32-bit programs are not covered.";
        /// The position in a file is not known.
        OffsetChanged = 89, "ZC89", "offset", Unknown,
            "Another thread changed the file offset during the call, so the position of the bytes in the file is not known.",
            "Give each call its own offset (pread, sendfile and splice with an offset argument).";
    }
}

/// Implements the accessors that both enums share.
macro_rules! accessors {
    ($name:ident, $self:ident => $row:expr) => {
        impl $name {
            /// Returns the stable code, such as `ZC03`.
            ///
            /// ```
            #[doc = concat!("assert_eq!(zctrace_contract::", stringify!($name), "::Peeked.code(), \"ZC31\");")]
            /// ```
            pub const fn code($self) -> &'static str {
                $row.code
            }

            /// Returns the reason in a word or two, at most ten characters, for a column of a table.
            ///
            /// ```
            #[doc = concat!("assert_eq!(zctrace_contract::", stringify!($name), "::Peeked.label(), \"peek\");")]
            /// ```
            pub const fn label($self) -> &'static str {
                $row.label
            }

            /// Returns whether the reason explains a copy or an unknown.
            ///
            /// ```
            /// use zctrace_contract::reason::Class;
            #[doc = concat!("assert_eq!(zctrace_contract::", stringify!($name), "::DirectDevice.class(), Class::Unknown);")]
            /// ```
            pub const fn class($self) -> Class {
                $row.class
            }

            /// Returns what happened, in one sentence.
            ///
            /// ```
            #[doc = concat!("assert!(zctrace_contract::", stringify!($name), "::NoPipe.description().ends_with('.'));")]
            /// ```
            pub const fn description($self) -> &'static str {
                $row.description
            }

            /// Returns what to do about it, in one sentence. "Nothing to do" is an advice.
            ///
            /// ```
            #[doc = concat!("assert!(zctrace_contract::", stringify!($name), "::SmallWrite.advice().starts_with(\"Nothing to do\"));")]
            /// ```
            pub const fn advice($self) -> &'static str {
                $row.advice
            }

            /// Returns the number in the code: 3 for `ZC03`. A byte of a journal's entry holds it.
            pub const fn number($self) -> u8 {
                $self as u8
            }

            /// Returns all reasons, in the order of their codes.
            ///
            /// ```
            #[doc = concat!("assert!(zctrace_contract::", stringify!($name), "::all().any(|reason| reason.code() == \"ZC01\"));")]
            /// ```
            pub fn all() -> impl ExactSizeIterator<Item = Self> {
                Self::ALL.iter().copied()
            }

            /// Returns the reason with this code, in capital letters or not. `None` if there is none in this version.
            ///
            /// ```
            #[doc = concat!("assert_eq!(zctrace_contract::", stringify!($name), "::from_code(\"ZC99\"), None);")]
            /// ```
            pub fn from_code(code: &str) -> Option<Self> {
                Self::all().find(|reason| reason.code().eq_ignore_ascii_case(code))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.code())
            }
        }
    };
}

accessors!(Reason, self => self.row());
accessors!(LibraryReason, self => self.reason().row());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_rise() {
        assert!(Reason::ALL.windows(2).all(|two| two[0].code() < two[1].code()));
        assert!(LibraryReason::ALL.windows(2).all(|two| two[0].code() < two[1].code()));
    }

    #[test]
    fn each_reason_has_one_sentence_and_an_advice() {
        for reason in Reason::all() {
            assert!(reason.description().ends_with('.'), "{reason}");
            assert!(reason.advice().ends_with('.'), "{reason}");
            assert!(!reason.label().is_empty() && reason.label().len() <= 10, "{reason}");
            assert!(reason.code().len() == 4 && reason.code().starts_with("ZC"));
            assert_eq!(reason.code()[2..].parse(), Ok(reason.number()), "{reason}");
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
    }

    #[test]
    fn library_reasons_are_the_same_reasons() {
        for reason in LibraryReason::all() {
            assert_eq!(Reason::from(reason).code(), reason.code());
            assert_eq!(LibraryReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(LibraryReason::from_code(Reason::LostRecords.code()), None);
    }
}
