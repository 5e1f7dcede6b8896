//! Structure members that the eBPF programs read, and their offsets in one kernel.
//!
//! The first name in each row is a global of `probes-ebpf/src/offsets.rs`. A member that was
//! renamed is looked up under all of its names. A member whose size differs from what the programs
//! read counts as missing.

use std::fmt;

use super::btf::{Btf, BtfError};

/// Group of probes that needs a member. A missing member disables its group and no other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProbeGroup {
    /// System calls, both of their endpoints, pipes and pages. Nothing can be shown without them.
    Calls,
    /// Packets of TCP connections.
    Packets,
    /// Messages of UNIX sockets.
    Unix,
    /// Block I/O requests.
    Bios,
    /// Page-cache pages that system calls dirty.
    Dirty,
    /// Page digests per connection, which replace records of pages.
    Digest,
    /// Zero-copy completions.
    ZeroCopy,
    /// Members that a kernel may be built without. Without them the kernel lacks the feature, so
    /// their absence hides nothing.
    Always,
}

/// Member, size or enumerator that the programs cannot use.
#[derive(Debug)]
pub struct MissingMember {
    /// Group of probes that needs it.
    pub group: ProbeGroup,
    /// Reason why the programs cannot use it.
    pub reason: MissingReason,
}

/// Reason why the programs cannot use a member.
#[derive(Debug)]
pub enum MissingReason {
    /// The kernel's types do not contain it.
    Absent(BtfError),
    /// The kernel has it with another size or offset than the programs expect.
    Different {
        /// Structure and member.
        what: String,
        /// Value that the programs expect.
        expected: u32,
        /// Value in this kernel.
        found: u32,
    },
}

impl fmt::Display for MissingMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            MissingReason::Absent(error) => error.fmt(f),
            MissingReason::Different { what, expected, found } => {
                write!(
                    f,
                    "this kernel's `{what}` has {found} where the programs expect {expected}"
                )
            }
        }
    }
}

/// Values of the programs' globals for one kernel.
#[derive(Debug, Default)]
pub struct KernelOffsets {
    /// Global and value.
    pub values: Vec<(&'static str, u32)>,
    /// Members that this kernel lacks or has in another form.
    pub missing: Vec<MissingMember>,
}

/// Member that the programs read: global, structure, member, size in bytes (0: any), and former
/// names as (structure, member).
type MemberSpec = (
    &'static str,
    &'static str,
    &'static str,
    u32,
    &'static [(&'static str, &'static str)],
);

const CALLS: &[MemberSpec] = &[
    ("TASK_FILES", "task_struct", "files", 8, &[]),
    ("TASK_STATUS", "task_struct", "thread_info.status", 4, &[]),
    ("TASK_TGID", "task_struct", "tgid", 4, &[]),
    ("TASK_SIGNAL", "task_struct", "signal", 8, &[]),
    ("TASK_COMM", "task_struct", "comm", 16, &[]),
    ("SIGNAL_LIVE", "signal_struct", "live", 4, &[]),
    ("FILES_FDT", "files_struct", "fdt", 8, &[]),
    ("FDT_FD", "fdtable", "fd", 8, &[]),
    ("FDT_MAX_FDS", "fdtable", "max_fds", 4, &[]),
    ("FILE_INODE", "file", "f_inode", 8, &[]),
    ("FILE_PRIVATE", "file", "private_data", 8, &[]),
    ("FILE_MAPPING", "file", "f_mapping", 8, &[]),
    ("FILE_FLAGS", "file", "f_flags", 4, &[]),
    ("FILE_MODE", "file", "f_mode", 4, &[]),
    ("FILE_POS", "file", "f_pos", 8, &[]),
    ("FILE_DENTRY", "file", "f_path.dentry", 8, &[]),
    ("DENTRY_NAME", "dentry", "d_name.name", 8, &[]),
    ("DENTRY_PARENT", "dentry", "d_parent", 8, &[]),
    ("INODE_MODE", "inode", "i_mode", 2, &[]),
    ("INODE_INO", "inode", "i_ino", 8, &[]),
    ("INODE_RDEV", "inode", "i_rdev", 4, &[]),
    ("INODE_SB", "inode", "i_sb", 8, &[]),
    ("INODE_SIZE", "inode", "i_size", 8, &[]),
    ("INODE_PIPE", "inode", "i_pipe", 8, &[]),
    ("INODE_MAPPING", "inode", "i_mapping", 8, &[]),
    ("INODE_GENERATION", "inode", "i_generation", 4, &[]),
    ("SB_DEV", "super_block", "s_dev", 4, &[]),
    ("MAPPING_HOST", "address_space", "host", 8, &[]),
    ("PIPE_HEAD", "pipe_inode_info", "head", 4, &[]),
    ("PIPE_TAIL", "pipe_inode_info", "tail", 4, &[]),
    ("PIPE_BUFS", "pipe_inode_info", "bufs", 8, &[]),
    ("PIPE_RING_SIZE", "pipe_inode_info", "ring_size", 4, &[]),
    // Since 7.2 the word of a tail page may be a mask. Its value shows which form it has.
    (
        "PAGE_COMPOUND",
        "page",
        "compound_head",
        8,
        &[("page", "compound_info")],
    ),
    ("FOLIO_MAPPING", "folio", "mapping", 8, &[("page", "mapping")]),
    ("FOLIO_INDEX", "folio", "index", 8, &[("page", "index")]),
    ("SOCKET_SK", "socket", "sk", 8, &[]),
    ("SK_FAMILY", "sock", "__sk_common.skc_family", 2, &[]),
    ("SK_STATE", "sock", "__sk_common.skc_state", 1, &[]),
    ("SK_TYPE", "sock", "sk_type", 2, &[]),
    ("SK_PROTOCOL", "sock", "sk_protocol", 2, &[]),
    ("SK_DADDR", "sock", "__sk_common.skc_daddr", 4, &[]),
    ("SK_RCV_SADDR", "sock", "__sk_common.skc_rcv_saddr", 4, &[]),
    ("SK_DPORT", "sock", "__sk_common.skc_dport", 2, &[]),
    ("SK_SPORT", "inet_sock", "inet_sport", 2, &[]),
    ("SK_WMEM", "sock", "sk_wmem_alloc", 4, &[]),
    ("TCP_WRITE_SEQ", "tcp_sock", "write_seq", 4, &[]),
    ("TCP_COPIED_SEQ", "tcp_sock", "copied_seq", 4, &[]),
];

const ALWAYS: &[MemberSpec] = &[
    // Kernels without CONFIG_IPV6 or CONFIG_UNIX have no such sockets.
    ("SK_V6_DADDR", "sock", "__sk_common.skc_v6_daddr", 16, &[]),
    ("SK_V6_RCV_SADDR", "sock", "__sk_common.skc_v6_rcv_saddr", 16, &[]),
    ("UNIX_PEER", "unix_sock", "peer", 8, &[]),
    // Kernels without CONFIG_IO_URING have no such requests. Before 6.2 a program could not ask for
    // a report.
    ("REQUEST_CMD", "io_kiocb", "cmd", 0, &[]),
    ("NOTIF_REPORT", "io_notif_data", "zc_report", 1, &[]),
];

/// Error-queue packets of zero-copy completions: where they hold the completion.
const ZERO_COPY: &[MemberSpec] = &[
    ("SKB_CB", "sk_buff", "cb", 0, &[]),
    ("SERR_EE", "sock_exterr_skb", "ee", 16, &[]),
];

/// Members of packets, which messages of UNIX sockets share.
const SKB: &[MemberSpec] = &[
    ("SKB_SK", "sk_buff", "sk", 8, &[]),
    ("SKB_LEN", "sk_buff", "len", 4, &[]),
    ("SKB_DATA_LEN", "sk_buff", "data_len", 4, &[]),
    ("SKB_HEAD", "sk_buff", "head", 8, &[]),
    ("SKB_END", "sk_buff", "end", 4, &[]),
    ("SHINFO_FLAGS", "skb_shared_info", "flags", 1, &[]),
    ("SHINFO_NR_FRAGS", "skb_shared_info", "nr_frags", 1, &[]),
    ("SHINFO_FRAGS", "skb_shared_info", "frags", 0, &[]),
    ("SHINFO_FRAG_LIST", "skb_shared_info", "frag_list", 8, &[]),
];

const PACKETS: &[MemberSpec] = &[
    ("SKB_DATA", "sk_buff", "data", 8, &[]),
    ("SKB_TRANSPORT", "sk_buff", "transport_header", 2, &[]),
    ("DEV_IFINDEX", "net_device", "ifindex", 4, &[]),
    ("DEV_FLAGS", "net_device", "flags", 4, &[]),
];

const BIOS: &[MemberSpec] = &[
    ("BIO_VECS", "bio", "bi_io_vec", 8, &[]),
    ("BIO_SECTOR", "bio", "bi_iter.bi_sector", 8, &[]),
    ("BIO_SIZE", "bio", "bi_iter.bi_size", 4, &[]),
    ("BIO_IDX", "bio", "bi_iter.bi_idx", 4, &[]),
    ("BIO_DONE", "bio", "bi_iter.bi_bvec_done", 4, &[]),
    ("BIO_OPF", "bio", "bi_opf", 4, &[]),
    ("BIO_BDEV", "bio", "bi_bdev", 8, &[]),
    ("BDEV_DEV", "block_device", "bd_dev", 4, &[]),
];

const DIRTY: &[MemberSpec] = &[(
    "FOLIO_NR_PAGES",
    "folio",
    "_nr_pages",
    4,
    &[("folio", "_folio_nr_pages")],
)];

/// For digests: the pipe inside sendfile(2), and a name of the file whose pages are in a pipe.
const DIGEST: &[MemberSpec] = &[
    ("TASK_SPLICE_PIPE", "task_struct", "splice_pipe", 8, &[]),
    ("INODE_DENTRY", "inode", "i_dentry.first", 8, &[]),
    ("DENTRY_ALIAS", "dentry", "d_u.d_alias", 16, &[("dentry", "d_alias")]),
];

/// Members whose offset is fixed in the programs, because they read several members at once:
/// structure, names of the member, offset.
const FIXED_OFFSETS: &[(ProbeGroup, &str, &[&str], u32)] = &[
    (ProbeGroup::Calls, "pipe_buffer", &["page"], 0),
    (ProbeGroup::Calls, "pipe_buffer", &["offset"], 8),
    (ProbeGroup::Calls, "pipe_buffer", &["len"], 12),
    (ProbeGroup::Calls, "pipe_buffer", &["ops"], 16),
    (ProbeGroup::Packets, "skb_frag_t", &["netmem", "bv_page"], 0),
    (ProbeGroup::Packets, "skb_frag_t", &["len", "bv_len"], 8),
    (ProbeGroup::Packets, "skb_frag_t", &["offset", "bv_offset"], 12),
    (ProbeGroup::Bios, "bio_vec", &["bv_page"], 0),
    (ProbeGroup::Bios, "bio_vec", &["bv_len"], 8),
    (ProbeGroup::Bios, "bio_vec", &["bv_offset"], 12),
];

/// Sizes that are fixed in the programs: array elements, and `struct page`, whose words they read
/// at once.
const FIXED_SIZES: &[(ProbeGroup, &str, u32)] = &[
    (ProbeGroup::Calls, "pipe_buffer", 40),
    (ProbeGroup::Calls, "page", 64),
    (ProbeGroup::Packets, "skb_frag_t", 16),
    (ProbeGroup::Bios, "bio_vec", 16),
];

impl KernelOffsets {
    /// Looks up every member that the programs need.
    ///
    /// # Errors
    ///
    /// If the types cannot be read. A missing member is no error and is listed in
    /// [`missing`](Self::missing).
    pub fn from_btf(btf: &Btf) -> Result<Self, BtfError> {
        let mut plan = Self::default();
        let members = [
            (ProbeGroup::Calls, CALLS),
            (ProbeGroup::Always, ALWAYS),
            (ProbeGroup::Packets, SKB),
            (ProbeGroup::Packets, PACKETS),
            (ProbeGroup::Bios, BIOS),
            (ProbeGroup::Dirty, DIRTY),
            (ProbeGroup::Digest, DIGEST),
            (ProbeGroup::ZeroCopy, ZERO_COPY),
        ];
        for (part, wanted) in members {
            for one in wanted {
                plan.resolve_member(btf, part, one)?;
            }
        }
        for &(part, of, names, offset) in FIXED_OFFSETS {
            let names: Vec<_> = names.iter().map(|name| (of, *name)).collect();
            let found = btf.first_field_of(&names).map(|field| field.offset);
            let what = || format!("{of}.{}", names[0].1);
            plan.check_value(part, what, offset, found)?;
        }
        for &(part, of, size) in FIXED_SIZES {
            plan.check_value(part, || of.to_owned(), size, btf.size_of(of))?;
        }
        match btf.enumerator("PG_head") {
            Ok(bit) => plan.values.push(("PAGE_HEAD_BIT", bit as u32)),
            Err(error) => plan.record_absent(ProbeGroup::Dirty, error)?,
        }
        Ok(plan)
    }

    /// Returns the first missing member that a group needs.
    pub fn missing_for(&self, part: ProbeGroup) -> Option<&MissingMember> {
        // Messages and packets are both `struct sk_buff`. Page descriptions belong to `Calls`.
        let wanted = if part == ProbeGroup::Unix {
            ProbeGroup::Packets
        } else {
            part
        };
        self.missing.iter().find(|missing| missing.group == wanted)
    }

    /// Returns the first value that differs from another kernel's: member, value here, value there.
    /// If there is one, each kernel's programs would read wrong offsets on the other kernel.
    pub fn first_difference(&self, other: &Self) -> Option<(String, Option<u32>, Option<u32>)> {
        let of = |plan: &Self, name: &str| plan.values.iter().find(|(have, _)| *have == name).map(|(_, at)| *at);
        let names = self.values.iter().chain(&other.values).map(|(name, _)| *name);
        names
            .map(|name| (name, of(self, name), of(other, name)))
            .find(|(_, here, there)| here != there)
            .map(|(name, here, there)| (member_name(name), here, there))
    }

    fn resolve_member(&mut self, btf: &Btf, part: ProbeGroup, wanted: &MemberSpec) -> Result<(), BtfError> {
        let &(global, of, path, size, others) = wanted;
        let mut names = vec![(of, path)];
        names.extend(others);
        match btf.first_field_of(&names) {
            // `frags` and `cb` are arrays of which only the start is needed; their size varies.
            Ok(field) if size == 0 || (field.size == size && field.bits.is_none()) => {
                self.values.push((global, field.offset));
            }
            Ok(field) => self.missing.push(MissingMember {
                group: part,
                reason: MissingReason::Different {
                    what: format!("{of}.{path}"),
                    expected: size,
                    found: field.size,
                },
            }),
            Err(error) => self.record_absent(part, error)?,
        }
        Ok(())
    }

    fn check_value(
        &mut self,
        part: ProbeGroup,
        what: impl Fn() -> String,
        expected: u32,
        found: Result<u32, BtfError>,
    ) -> Result<(), BtfError> {
        match found {
            Ok(found) if found == expected => Ok(()),
            Ok(found) => {
                let what = what();
                self.missing.push(MissingMember {
                    group: part,
                    reason: MissingReason::Different { what, expected, found },
                });
                Ok(())
            }
            Err(error) => self.record_absent(part, error),
        }
    }

    fn record_absent(&mut self, part: ProbeGroup, error: BtfError) -> Result<(), BtfError> {
        if !error.is_missing() {
            return Err(error);
        }
        self.missing.push(MissingMember {
            group: part,
            reason: MissingReason::Absent(error),
        });
        Ok(())
    }
}

/// Returns the structure and member that a global holds the offset of.
fn member_name(global: &str) -> String {
    let mut all = [CALLS, ALWAYS, SKB, PACKETS, BIOS, DIRTY, DIGEST, ZERO_COPY]
        .into_iter()
        .flatten();
    let found = all.find(|(have, ..)| *have == global);
    found.map_or_else(|| global.to_owned(), |(_, of, member, ..)| format!("{of}.{member}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_elsewhere_is_named() {
        let plan = |at| KernelOffsets {
            values: vec![("TASK_FILES", 8), ("FILE_POS", at), ("PAGE_HEAD_BIT", 6)],
            missing: Vec::new(),
        };
        assert_eq!(plan(16).first_difference(&plan(16)), None);
        let moved = plan(16).first_difference(&plan(24));
        assert_eq!(moved, Some(("file.f_pos".to_owned(), Some(16), Some(24))));
        let mut less = plan(16);
        less.values.pop();
        let gone = less.first_difference(&plan(16));
        assert_eq!(gone, Some(("PAGE_HEAD_BIT".to_owned(), None, Some(6))));
    }
}
