//! Which members the programs need, and where this kernel has them.
//!
//! The names on the left are the globals of `probes-ebpf/src/offsets.rs`. What changed its name is looked for under all
//! its names; what has another size than the programs read is as good as missing.

use std::fmt;

use super::btf::{Btf, BtfError};

/// What a member is needed for. What cannot be had leaves the others be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// Calls, both ends of them, pipes and pages: without these nothing can be shown.
    Calls,
    /// Packets of TCP connections.
    Packets,
    /// Messages of UNIX sockets.
    Unix,
    /// Requests to disks.
    Bios,
    /// Pages of files that calls make dirty.
    Dirty,
    /// Sums over pages instead of records of them.
    Sums,
    /// What the kernel tells of sends without copies.
    Told,
    /// What a kernel may be built without, and then does not do: its absence takes nothing away.
    Optional,
}

/// A member, or why there is none.
#[derive(Debug)]
pub struct Missing {
    /// What it is needed for.
    pub part: Part,
    /// What is wrong.
    pub why: Why,
}

/// Why the programs cannot use a member.
#[derive(Debug)]
pub enum Why {
    /// The kernel's types do not have it.
    Absent(BtfError),
    /// It is there, but of another size or at another place than the programs know.
    Different {
        /// Its structure and name.
        what: String,
        /// What the programs expect.
        expected: u32,
        /// What is there.
        found: u32,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Absent(error) => error.fmt(f),
            Why::Different { what, expected, found } => {
                write!(
                    f,
                    "this kernel's `{what}` has {found} where the programs expect {expected}"
                )
            }
        }
    }
}

/// The values of the programs' globals for one kernel.
#[derive(Debug, Default)]
pub struct Plan {
    /// Names and values.
    pub values: Vec<(&'static str, u32)>,
    /// What could not be found.
    pub missing: Vec<Missing>,
}

/// A member that the programs read: the global, the structure, the member, its bytes, and other names of both.
type Wanted = (
    &'static str,
    &'static str,
    &'static str,
    u32,
    &'static [(&'static str, &'static str)],
);

const CALLS: &[Wanted] = &[
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
    // Since 7.2 the word of a tail page may be a mask; which one it is shows in its value.
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

const OPTIONAL: &[Wanted] = &[
    // Without CONFIG_IPV6 there are no such sockets, without CONFIG_UNIX no such others.
    ("SK_V6_DADDR", "sock", "__sk_common.skc_v6_daddr", 16, &[]),
    ("SK_V6_RCV_SADDR", "sock", "__sk_common.skc_v6_rcv_saddr", 16, &[]),
    ("UNIX_PEER", "unix_sock", "peer", 8, &[]),
    // Without CONFIG_IO_URING there is none; before 6.2 programs could not ask to be told.
    ("REQUEST_CMD", "io_kiocb", "cmd", 0, &[]),
    ("NOTIF_REPORT", "io_notif_data", "zc_report", 1, &[]),
];

/// For the kernel's own word on sends without copies: where a packet in an error queue says what it tells.
const TOLD: &[Wanted] = &[
    ("SKB_CB", "sk_buff", "cb", 0, &[]),
    ("SERR_EE", "sock_exterr_skb", "ee", 16, &[]),
];

/// For packets and for messages alike.
const SKB: &[Wanted] = &[
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

const PACKETS: &[Wanted] = &[
    ("SKB_DATA", "sk_buff", "data", 8, &[]),
    ("SKB_TRANSPORT", "sk_buff", "transport_header", 2, &[]),
    ("DEV_IFINDEX", "net_device", "ifindex", 4, &[]),
    ("DEV_FLAGS", "net_device", "flags", 4, &[]),
];

const BIOS: &[Wanted] = &[
    ("BIO_VECS", "bio", "bi_io_vec", 8, &[]),
    ("BIO_SECTOR", "bio", "bi_iter.bi_sector", 8, &[]),
    ("BIO_SIZE", "bio", "bi_iter.bi_size", 4, &[]),
    ("BIO_IDX", "bio", "bi_iter.bi_idx", 4, &[]),
    ("BIO_DONE", "bio", "bi_iter.bi_bvec_done", 4, &[]),
    ("BIO_OPF", "bio", "bi_opf", 4, &[]),
    ("BIO_BDEV", "bio", "bi_bdev", 8, &[]),
    ("BDEV_DEV", "block_device", "bd_dev", 4, &[]),
];

const DIRTY: &[Wanted] = &[(
    "FOLIO_NR_PAGES",
    "folio",
    "_nr_pages",
    4,
    &[("folio", "_folio_nr_pages")],
)];

/// For sums: the pipe of a sendfile(2), and a name of the file whose pages are in a pipe.
const SUMS: &[Wanted] = &[
    ("TASK_SPLICE_PIPE", "task_struct", "splice_pipe", 8, &[]),
    ("INODE_DENTRY", "inode", "i_dentry.first", 8, &[]),
    ("DENTRY_ALIAS", "dentry", "d_u.d_alias", 16, &[("dentry", "d_alias")]),
];

/// Members whose place the programs know, because they read several at once: the structure, the member, its offset.
const FIXED: &[(Part, &str, &[&str], u32)] = &[
    (Part::Calls, "pipe_buffer", &["page"], 0),
    (Part::Calls, "pipe_buffer", &["offset"], 8),
    (Part::Calls, "pipe_buffer", &["len"], 12),
    (Part::Calls, "pipe_buffer", &["ops"], 16),
    (Part::Packets, "skb_frag_t", &["netmem", "bv_page"], 0),
    (Part::Packets, "skb_frag_t", &["len", "bv_len"], 8),
    (Part::Packets, "skb_frag_t", &["offset", "bv_offset"], 12),
    (Part::Bios, "bio_vec", &["bv_page"], 0),
    (Part::Bios, "bio_vec", &["bv_len"], 8),
    (Part::Bios, "bio_vec", &["bv_offset"], 12),
];

/// Sizes that the programs know: elements of arrays, and the page whose words they read at once.
const SIZES: &[(Part, &str, u32)] = &[
    (Part::Calls, "pipe_buffer", 40),
    (Part::Calls, "page", 64),
    (Part::Packets, "skb_frag_t", 16),
    (Part::Bios, "bio_vec", 16),
];

impl Plan {
    /// Looks up all that the programs need.
    ///
    /// # Errors
    ///
    /// If the types cannot be read. That some are missing is no error here: [`missing`](Self::missing) has them.
    pub fn of(btf: &Btf) -> Result<Self, BtfError> {
        let mut plan = Self::default();
        let members = [
            (Part::Calls, CALLS),
            (Part::Optional, OPTIONAL),
            (Part::Packets, SKB),
            (Part::Packets, PACKETS),
            (Part::Bios, BIOS),
            (Part::Dirty, DIRTY),
            (Part::Sums, SUMS),
            (Part::Told, TOLD),
        ];
        for (part, wanted) in members {
            for one in wanted {
                plan.member(btf, part, one)?;
            }
        }
        for &(part, of, names, offset) in FIXED {
            let names: Vec<_> = names.iter().map(|name| (of, *name)).collect();
            let found = btf.any_field(&names).map(|field| field.offset);
            let what = || format!("{of}.{}", names[0].1);
            plan.expect(part, what, offset, found)?;
        }
        for &(part, of, size) in SIZES {
            plan.expect(part, || of.to_owned(), size, btf.size_of(of))?;
        }
        match btf.enumerator("PG_head") {
            Ok(bit) => plan.values.push(("PAGE_HEAD_BIT", bit as u32)),
            Err(error) => plan.absent(Part::Dirty, error)?,
        }
        Ok(plan)
    }

    /// What is missing for a part, if anything is.
    pub fn missing_for(&self, part: Part) -> Option<&Missing> {
        // Messages are made of what packets are made of, and pages are described alike for all.
        let wanted = if part == Part::Unix { Part::Packets } else { part };
        self.missing.iter().find(|missing| missing.part == wanted)
    }

    /// The first thing that is elsewhere in another plan: what, where it is here, and where there. Such plans are of kernels
    /// that differ, and one of them reads at wrong places of the other's.
    pub fn differs_from(&self, other: &Self) -> Option<(String, Option<u32>, Option<u32>)> {
        let of = |plan: &Self, name: &str| plan.values.iter().find(|(have, _)| *have == name).map(|(_, at)| *at);
        let names = self.values.iter().chain(&other.values).map(|(name, _)| *name);
        names
            .map(|name| (name, of(self, name), of(other, name)))
            .find(|(_, here, there)| here != there)
            .map(|(name, here, there)| (named(name), here, there))
    }

    fn member(&mut self, btf: &Btf, part: Part, wanted: &Wanted) -> Result<(), BtfError> {
        let &(global, of, path, size, others) = wanted;
        let mut names = vec![(of, path)];
        names.extend(others);
        match btf.any_field(&names) {
            // The frags are an array, of which only the start is wanted.
            Ok(field) if size == 0 || (field.size == size && field.bits.is_none()) => {
                self.values.push((global, field.offset));
            }
            Ok(field) => self.missing.push(Missing {
                part,
                why: Why::Different {
                    what: format!("{of}.{path}"),
                    expected: size,
                    found: field.size,
                },
            }),
            Err(error) => self.absent(part, error)?,
        }
        Ok(())
    }

    fn expect(
        &mut self,
        part: Part,
        what: impl Fn() -> String,
        expected: u32,
        found: Result<u32, BtfError>,
    ) -> Result<(), BtfError> {
        match found {
            Ok(found) if found == expected => Ok(()),
            Ok(found) => {
                let what = what();
                self.missing.push(Missing {
                    part,
                    why: Why::Different { what, expected, found },
                });
                Ok(())
            }
            Err(error) => self.absent(part, error),
        }
    }

    fn absent(&mut self, part: Part, error: BtfError) -> Result<(), BtfError> {
        if !error.is_missing() {
            return Err(error);
        }
        self.missing.push(Missing {
            part,
            why: Why::Absent(error),
        });
        Ok(())
    }
}

/// The structure and member that a global is of.
fn named(global: &str) -> String {
    let mut all = [CALLS, OPTIONAL, SKB, PACKETS, BIOS, DIRTY, SUMS, TOLD]
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
        let plan = |at| Plan {
            values: vec![("TASK_FILES", 8), ("FILE_POS", at), ("PAGE_HEAD_BIT", 6)],
            missing: Vec::new(),
        };
        assert_eq!(plan(16).differs_from(&plan(16)), None);
        let moved = plan(16).differs_from(&plan(24));
        assert_eq!(moved, Some(("file.f_pos".to_owned(), Some(16), Some(24))));
        let mut less = plan(16);
        less.values.pop();
        let gone = less.differs_from(&plan(16));
        assert_eq!(gone, Some(("PAGE_HEAD_BIT".to_owned(), None, Some(6))));
    }
}
