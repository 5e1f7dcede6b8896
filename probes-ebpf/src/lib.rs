//! The eBPF side of zctrace: a skeleton that builds for the host and holds no programs yet.
//!
//! What is here is the part of the programs that needs no kernel to be tested: how a record's header is made of what
//! the kernel's helpers return.

#![no_std]

use probes_common::{RecordHeader, RecordKind};

/// What the kernel's helpers say at the moment a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// `bpf_ktime_get_ns`.
    pub now_ns: u64,
    /// `bpf_get_current_pid_tgid`: the process in the upper half, the thread in the lower.
    pub pid_tgid: u64,
    /// `bpf_get_smp_processor_id`.
    pub cpu: u32,
}

impl Moment {
    /// The header of the record with number `sequence`, of `len` bytes in all.
    #[inline]
    #[must_use]
    pub const fn header(self, kind: RecordKind, sequence: u64, len: u16) -> RecordHeader {
        RecordHeader {
            sequence,
            timestamp_ns: self.now_ns,
            tgid: (self.pid_tgid >> 32) as u32,
            tid: self.pid_tgid as u32,
            cpu: self.cpu,
            kind,
            len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Moment;
    use probes_common::RecordKind;

    #[test]
    fn process_and_thread_are_not_exchanged() {
        let head = Moment {
            now_ns: 5,
            pid_tgid: 0x0000_0064_0000_0065,
            cpu: 3,
        }
        .header(RecordKind(9), 7, 48);
        assert_eq!((head.tgid, head.tid, head.cpu), (100, 101, 3));
        assert_eq!(
            (head.timestamp_ns, head.sequence, head.kind, head.len),
            (5, 7, RecordKind(9), 48)
        );
    }
}
