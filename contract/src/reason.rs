//! Reasons: why bytes were copied, or why no verdict about them is possible.
//!
//! [`reasons!`](self) below is the only table. A new reason is one new row. Receipts, reports,
//! screens and `zctrace explain` take code, label, description and advice from the row.

use core::fmt;

/// Class of a [`Reason`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Reason for a copy that was proven.
    Copy,
    /// Reason why neither a copy nor a move was proven.
    Unknown,
}

/// Generates both enums and their texts from one table.
///
/// A row consists of: variant = number, code, label, class, description, advice.
macro_rules! reasons {
    (
        library { $( #[doc = $ldoc:literal] $lib:ident = $lnum:literal, $lcode:literal, $llabel:literal, $lclass:ident, $ldesc:literal, $ladvice:literal; )+ }
        tracer { $( #[doc = $tdoc:literal] $tracer:ident = $tnum:literal, $tcode:literal, $tlabel:literal, $tclass:ident, $tdesc:literal, $tadvice:literal; )+ }
    ) => {
        /// Reason why bytes were copied, or why no verdict about them is possible.
        ///
        /// Codes are stable: a code never gets a second meaning, and a reason that is no longer
        /// used keeps its code. Reasons are ordered by code.
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

        /// Reason that the library can give in its receipts and counts.
        ///
        /// Each variant has a counterpart in [`Reason`] with the same code and texts. Reasons that
        /// only the tracer can give, such as lost records, are missing here.
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

            /// Converts to the [`Reason`] with the same code.
            pub const fn reason(self) -> Reason {
                match self { $( Self::$lib => Reason::$lib, )+ }
            }
        }

        impl Reason {
            /// All reasons, in the order of their codes.
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

/// Sorts reasons by code. The two halves of the table interleave: `ZC90` belongs to the tracer,
/// `ZC91` to the library.
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
            "The library copied the bytes, because there were fewer than the source's threshold for a splice.",
            "Nothing to do: a splice of so few bytes costs more. `Source::threshold(0)` splices them all the same.";
        /// One of the two endpoints does not support splice.
        CannotSplice = 2, "ZC02", "no splice", Copy,
            "The kernel does not splice this kind of file (EINVAL, ENOSYS or EOPNOTSUPP), so the bytes were copied through memory.",
            "Use a regular file, a pipe, or a TCP or UNIX stream socket as that endpoint.";
        /// The page cache keeps its own copy of written bytes.
        PageCacheSink = 3, "ZC03", "page cache", Copy,
            "The sink was written through the page cache, which keeps its own copy of the bytes.",
            "Open the file with O_DIRECT, on a filesystem that supports it, and write block-aligned pieces; or accept the one copy.";
        /// No pipe was available.
        NoPipe = 4, "ZC04", "no pipe", Copy,
            "No pipe was available, because a limit on open files, on pipe pages or of the pool was reached.",
            "Raise RLIMIT_NOFILE, /proc/sys/fs/pipe-user-pages-soft or the limits of the pool, or run fewer transfers at a time.";
        /// The system forbids splice, tee or vmsplice to this process.
        Forbidden = 5, "ZC05", "forbidden", Copy,
            "The system refused splice, tee or vmsplice to this process (EPERM or EACCES), as seccomp filters do.",
            "Allow splice(2), tee(2) and vmsplice(2) in the seccomp profile of the container or service.";
        /// The sink is open for appending.
        AppendSink = 6, "ZC06", "appending", Copy,
            "The sink is open with O_APPEND, and the kernel does not splice into such a file.",
            "Open the file without O_APPEND, and pass the offset.";
        /// A buffer, an offset or a length is not aligned.
        Misaligned = 7, "ZC07", "misaligned", Copy,
            "A buffer, an offset or a length was not a multiple of the block size that direct I/O requires.",
            "Rebuild the list to the alignment before sending it, or set the sender's TCP_MAXSEG so that packets hold whole pages.";
        /// A pipe whose slots held little data was copied into whole pages.
        Defragmented = 8, "ZC08", "tiny slots", Copy,
            "All slots of a pipe were in use and held little data, so the bytes were copied into memory to free the slots.",
            "Send larger pieces, or remove what splits them, such as TCP_NODELAY with small writes.";
        /// The sink preserves message boundaries.
        MessageSink = 9, "ZC09", "messages", Copy,
            "The sink preserves message boundaries (UDP, datagram and seqpacket sockets), and a splice would split or lose messages.",
            "Nothing to do: message sockets need the copy. For data without boundaries, use a stream socket.";
        /// Small writes, such as response headers.
        SmallWrite = 10, "ZC10", "small", Copy,
            "Small writes, such as response headers, copied the bytes from the program's own memory.",
            "Nothing to do: small writes matter only if they are a large share of all bytes.";
        /// Written from the program's own memory.
        FromMemory = 14, "ZC14", "own memory", Copy,
            "The program wrote the bytes from its own memory.",
            "If the bytes came from a file or socket, move them with splice or sendfile; if the program generated them, put them into `Pages` of bufferlist, or send them with MSG_ZEROCOPY.";
        /// Read into the program's own memory.
        IntoMemory = 15, "ZC15", "to memory", Copy,
            "The program read the bytes into its own memory.",
            "If the program only passes the bytes on, move them with splice or sendfile instead.";
        /// The kernel copied between two endpoints.
        KernelCopies = 20, "ZC20", "by kernel", Copy,
            "The kernel copied the bytes between these endpoints: a probe observed another page at the sink, or the mutation oracle showed that the endpoints share no pages.",
            "Use endpoints that share pages (`zctrace demo --matrix` lists them); for a network device, enable scatter-gather and checksum offload (`ethtool -K`).";
        /// The program peeked at bytes that were in the kernel.
        Peeked = 31, "ZC31", "peek", Copy,
            "The program peeked at bytes that were in the kernel, and a peek copies them.",
            "Peek at fewer bytes (a header, not the body), or peek before the bytes enter a pipe.";
        /// Bytes were copied into private pages.
        Stabilized = 32, "ZC32", "stabilized", Copy,
            "The program copied the bytes into private pages, so that no other process can change them.",
            "Remove the call of `stabilize` if other processes may change the bytes.";
        /// Bytes were copied to an alignment.
        Rebuilt = 33, "ZC33", "realigned", Copy,
            "The program copied the bytes to rebuild segments to the requested alignment.",
            "Read from page-aligned offsets, and build headers in whole pages.";
        /// The mutation oracle has no result for this pair of endpoints.
        NotShown = 91, "ZC91", "no verdict", Unknown,
            "The mutation oracle has not shown on this boot whether these two endpoints share pages.",
            "Call `bufferlist::oracle::probe_in` before the transfer, with a directory of the same filesystem.";
        /// A device reads or writes the pages.
        DirectDevice = 92, "ZC92", "device", Unknown,
            "One endpoint is a file open with O_DIRECT, and no observation shows that the device reads or writes these pages itself.",
            "If a receipt of the library has this reason, trace the program with zctrace at level full, which observes the requests to the device.";
        /// The sender of a UNIX socket's bytes decides, and it was not observed.
        PeerDependent = 93, "ZC93", "peer", Unknown,
            "The bytes came from a UNIX socket: the kernel passes on pages that the peer spliced and copies bytes that it wrote, and no observation shows which of the two happened.",
            "Trace both processes with zctrace, starting before the peer sends its first byte.";
        /// One endpoint has an address that this host does not have.
        BeyondThisHost = 94, "ZC94", "remote", Unknown,
            "The other side of the connection was not observed, and its address is none that was found on this host: it is on another host, behind address translation, or in a network namespace that was not found or has ended.",
            "For bytes that a program sends, trace it with zctrace, which observes packets up to the network device; for received bytes, trace the sender too if it is on this host.";
    }
    tracer {
        /// The bytes were still queued when tracing stopped.
        StillQueued = 90, "ZC90", "queued", Unknown,
            "The bytes were still queued in a socket when tracing stopped.",
            "Nothing to do: this is not a fault. Trace longer to observe the bytes as they leave the socket.";
        /// Records were lost during tracing.
        LostRecords = 95, "ZC95", "lost", Unknown,
            "Records were lost during tracing, and the loss can touch these bytes.",
            "Trace fewer processes, or trace at level digest, which needs far fewer records.";
        /// No probe observed the bytes.
        NotObserved = 96, "ZC96", "unobserved", Unknown,
            "No probe observed what happened to these bytes.",
            "Start tracing before the program starts; `zctrace doctor` lists what this kernel or these privileges do not let zctrace observe.";
        /// Page digests differ between two stations.
        DigestMismatch = 97, "ZC97", "unequal", Unknown,
            "The digest of the pages that the calls sent differs from the digest of the pages that packets carried, so at least one page differs; digests do not show which.",
            "Trace at level full, which compares page by page.";
        /// Only bytes were counted; no page was observed.
        CountedOnly = 98, "ZC98", "counted", Unknown,
            "Tracing at level counters adds up bytes and observes no page.",
            "Trace at level digest, which covers every page sent over TCP, or at level full.";
        /// An asynchronous request moved the bytes.
        AsyncIo = 84, "ZC84", "async", Unknown,
            "A request of io_uring or Linux AIO moved these bytes, and no probe observes the pages of such a request.",
            "Use the system call (splice, sendfile, send) where zero-copy must be proven, or allow ZC84.";
        /// A pipe's content could not be followed.
        OriginLost = 85, "ZC85", "pipe lost", Unknown,
            "The content of the pipe that the bytes came from could not be followed, so their origin is not known.",
            "The report lists why under \"not covered\": trace every process that uses the pipe, and resize it before it holds bytes.";
        /// The bytes did not leave a pipe through a traced call.
        LeftInPipe = 86, "ZC86", "in a pipe", Unknown,
            "No traced call took the bytes out of the pipe: they are still in it, the pipe was closed with them inside, or a process that is not traced or a call that is not covered took them.",
            "Trace the process at the other end of the pipe too, or trace until the pipe is empty.";
        /// A UNIX socket discarded the bytes unread.
        Unread = 87, "ZC87", "unread", Unknown,
            "The receiving UNIX socket was closed before these bytes were read, so the kernel discarded them.",
            "Nothing to do if the receiver meant to; otherwise let it read until the end of the stream.";
        /// Bytes of a stream that no traced call sent.
        UnseenSender = 88, "ZC88", "no sender", Unknown,
            "The socket's sequence number shows that these bytes were sent, and no traced call sent them.",
            "Trace every process that has the socket open; calls of 32-bit programs are not covered.";
        /// The position in a file is not known.
        OffsetChanged = 89, "ZC89", "offset", Unknown,
            "Another thread changed the file offset during the call, so the position of the bytes in the file is not known.",
            "Give each call its own offset (pread, sendfile and splice with an offset argument).";
    }
}

/// Implements the accessors that both enums have.
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

            /// Returns the label: one or two words of at most ten characters, for a column of a
            /// table.
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

            /// Returns the description: what happened, in one or two sentences.
            ///
            /// ```
            #[doc = concat!("assert!(zctrace_contract::", stringify!($name), "::NoPipe.description().ends_with('.'));")]
            /// ```
            pub const fn description($self) -> &'static str {
                $row.description
            }

            /// Returns the advice: what a person can do, in one or two sentences. Advice may start
            /// with "Nothing to do".
            ///
            /// ```
            #[doc = concat!("assert!(zctrace_contract::", stringify!($name), "::SmallWrite.advice().starts_with(\"Nothing to do\"));")]
            /// ```
            pub const fn advice($self) -> &'static str {
                $row.advice
            }

            /// Returns the number in the code, such as 3 for `ZC03`. A journal's entry stores the
            /// reason as this byte.
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

            /// Returns the reason with this code, or `None` if this version does not define the
            /// code. Upper and lower case are equal.
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
