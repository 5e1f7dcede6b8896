//! Table of the kernel structure members that the eBPF programs read.
//!
//! Each member is a global of the programs. The loader writes the member's offset on the running
//! kernel into it.

use crate::programs::ProbeGroup;

/// Kernel structure member that the programs read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelMember {
    /// Global that holds the member's offset.
    pub global: &'static str,
    /// Group of programs that need the member.
    pub group: ProbeGroup,
    /// Names of the structure and the member.
    pub name: (&'static str, &'static str),
    /// Size of the member, in bytes; 0 means any size.
    pub size: u32,
    /// Names of the structure and the member in earlier or later kernels.
    pub other_names: &'static [(&'static str, &'static str)],
}

/// Expands `$expand!` with one row for each member: the global, the group, structure and member,
/// size in bytes (0 means any), and other names.
#[macro_export]
macro_rules! for_each_kernel_member {
    ($expand:ident) => {
        $expand! {
            TASK_FILES: Calls, "task_struct"."files", 8, [];
            TASK_STATUS: Calls, "task_struct"."thread_info.status", 4, [];
            TASK_TGID: Calls, "task_struct"."tgid", 4, [];
            TASK_SIGNAL: Calls, "task_struct"."signal", 8, [];
            // Internal pipe of sendfile(2).
            TASK_SPLICE_PIPE: Calls, "task_struct"."splice_pipe", 8, [];
            TASK_GROUP_LEADER: Calls, "task_struct"."group_leader", 8, [];
            TASK_COMM: Calls, "task_struct"."comm", 16, [];
            SIGNAL_LIVE: Calls, "signal_struct"."live", 4, [];
            FILES_FDT: Calls, "files_struct"."fdt", 8, [];
            FDT_FD: Calls, "fdtable"."fd", 8, [];
            FDT_MAX_FDS: Calls, "fdtable"."max_fds", 4, [];
            FILE_INODE: Calls, "file"."f_inode", 8, [];
            FILE_PRIVATE: Calls, "file"."private_data", 8, [];
            FILE_MAPPING: Calls, "file"."f_mapping", 8, [];
            FILE_FLAGS: Calls, "file"."f_flags", 4, [];
            FILE_MODE: Calls, "file"."f_mode", 4, [];
            FILE_POS: Calls, "file"."f_pos", 8, [];
            FILE_DENTRY: Calls, "file"."f_path.dentry", 8, [];
            DENTRY_NAME: Calls, "dentry"."d_name.name", 8, [];
            DENTRY_PARENT: Calls, "dentry"."d_parent", 8, [];
            INODE_MODE: Calls, "inode"."i_mode", 2, [];
            INODE_INO: Calls, "inode"."i_ino", 8, [];
            INODE_RDEV: Calls, "inode"."i_rdev", 4, [];
            INODE_SB: Calls, "inode"."i_sb", 8, [];
            INODE_SIZE: Calls, "inode"."i_size", 8, [];
            INODE_PIPE: Calls, "inode"."i_pipe", 8, [];
            INODE_MAPPING: Calls, "inode"."i_mapping", 8, [];
            INODE_GENERATION: Calls, "inode"."i_generation", 4, [];
            SB_DEV: Calls, "super_block"."s_dev", 4, [];
            SB_MAGIC: Calls, "super_block"."s_magic", 8, [];
            MAPPING_HOST: Calls, "address_space"."host", 8, [];
            PIPE_HEAD: Calls, "pipe_inode_info"."head", 4, [];
            PIPE_TAIL: Calls, "pipe_inode_info"."tail", 4, [];
            PIPE_BUFS: Calls, "pipe_inode_info"."bufs", 8, [];
            PIPE_RING_SIZE: Calls, "pipe_inode_info"."ring_size", 4, [];
            PIPE_READ_OPENS: Calls, "pipe_inode_info"."r_counter", 4, [];
            PIPE_WRITE_OPENS: Calls, "pipe_inode_info"."w_counter", 4, [];
            // Since Linux 7.2 this word of a tail page may be a mask. Its value shows which form it
            // has.
            PAGE_COMPOUND: Calls, "page"."compound_head", 8, ["page"."compound_info"];
            PAGE_FLAGS: Calls, "page"."flags", 8, [];
            FOLIO_MAPPING: Calls, "folio"."mapping", 8, ["page"."mapping"];
            FOLIO_INDEX: Calls, "folio"."index", 8, ["page"."index"];
            SOCKET_SK: Calls, "socket"."sk", 8, [];
            SK_FAMILY: Calls, "sock"."__sk_common.skc_family", 2, [];
            SK_STATE: Calls, "sock"."__sk_common.skc_state", 1, [];
            SK_TYPE: Calls, "sock"."sk_type", 2, [];
            SK_PROTOCOL: Calls, "sock"."sk_protocol", 2, [];
            SK_DADDR: Calls, "sock"."__sk_common.skc_daddr", 4, [];
            SK_RCV_SADDR: Calls, "sock"."__sk_common.skc_rcv_saddr", 4, [];
            SK_DPORT: Calls, "sock"."__sk_common.skc_dport", 2, [];
            SK_SPORT: Calls, "inet_sock"."inet_sport", 2, [];
            SK_WMEM: Calls, "sock"."sk_wmem_alloc", 4, [];
            TCP_WRITE_SEQ: Calls, "tcp_sock"."write_seq", 4, [];
            TCP_COPIED_SEQ: Calls, "tcp_sock"."copied_seq", 4, [];
            TCP_SND_UNA: Calls, "tcp_sock"."snd_una", 4, [];
            TCP_BYTES_ACKED: Calls, "tcp_sock"."bytes_acked", 8, [];
            TCP_RCV_NXT: Calls, "tcp_sock"."rcv_nxt", 4, [];
            TCP_BYTES_RECEIVED: Calls, "tcp_sock"."bytes_received", 8, [];
            // Kernels without CONFIG_IPV6 or CONFIG_UNIX have no such sockets.
            SK_V6_DADDR: Always, "sock"."__sk_common.skc_v6_daddr", 16, [];
            SK_V6_RCV_SADDR: Always, "sock"."__sk_common.skc_v6_rcv_saddr", 16, [];
            UNIX_PEER: Always, "unix_sock"."peer", 8, [];
            // Kernels without CONFIG_IO_URING have no such requests. Before Linux 6.2 a program
            // could not request a usage report.
            REQUEST_CMD: Always, "io_kiocb"."cmd", 0, [];
            NOTIF_REPORT: Always, "io_notif_data"."zc_report", 1, [];
            // Without the flags of a message, sends and receives of `io_uring` are unknown.
            REQUEST_MSG_FLAGS: Always, "io_sr_msg"."msg_flags", 4, [];
            // Since Linux 6.13 a request names the submitter's context, which names the task.
            TCTX_TASK: Always, "io_uring_task"."task", 8, [];
            REQUEST_SUBMITTER: IoUring, "io_kiocb"."tctx", 8, ["io_kiocb"."task"];
            REQUEST_FILE: IoUring, "io_kiocb"."file", 8, [];
            REQUEST_OPCODE: IoUring, "io_kiocb"."opcode", 1, [];
            REQUEST_FLAGS: IoUring, "io_kiocb"."flags", 0, [];
            // Packets, and messages of UNIX sockets.
            SKB_SK: Packets, "sk_buff"."sk", 8, [];
            SKB_LEN: Packets, "sk_buff"."len", 4, [];
            SKB_DATA_LEN: Packets, "sk_buff"."data_len", 4, [];
            SKB_HEAD: Packets, "sk_buff"."head", 8, [];
            SKB_END: Packets, "sk_buff"."end", 4, [];
            SHINFO_FLAGS: Packets, "skb_shared_info"."flags", 1, [];
            SHINFO_NR_FRAGS: Packets, "skb_shared_info"."nr_frags", 1, [];
            SHINFO_FRAGS: Packets, "skb_shared_info"."frags", 0, [];
            SHINFO_FRAG_LIST: Packets, "skb_shared_info"."frag_list", 8, [];
            SKB_DATA: Packets, "sk_buff"."data", 8, [];
            SKB_TRANSPORT: Packets, "sk_buff"."transport_header", 2, [];
            DEV_IFINDEX: Packets, "net_device"."ifindex", 4, [];
            DEV_FLAGS: Packets, "net_device"."flags", 4, [];
            DEV_PARENT: Packets, "net_device"."dev.parent", 8, [];
            BIO_VECS: Bios, "bio"."bi_io_vec", 8, [];
            BIO_SECTOR: Bios, "bio"."bi_iter.bi_sector", 8, [];
            BIO_SIZE: Bios, "bio"."bi_iter.bi_size", 4, [];
            BIO_IDX: Bios, "bio"."bi_iter.bi_idx", 4, [];
            BIO_DONE: Bios, "bio"."bi_iter.bi_bvec_done", 4, [];
            BIO_OPF: Bios, "bio"."bi_opf", 4, [];
            BIO_BDEV: Bios, "bio"."bi_bdev", 8, [];
            BDEV_DEV: Bios, "block_device"."bd_dev", 4, [];
            FOLIO_NR_PAGES: Dirty, "folio"."_nr_pages", 4, ["folio"."_folio_nr_pages"];
            TASK_FLAGS: Digest, "task_struct"."flags", 4, [];
            // A name of the file whose pages are in a pipe.
            INODE_DENTRY: Digest, "inode"."i_dentry.first", 8, [];
            DENTRY_ALIAS: Digest, "dentry"."d_u.d_alias", 16, ["dentry"."d_alias"];
            // Location of the completion in an error-queue packet.
            SKB_CB: ZeroCopy, "sk_buff"."cb", 0, [];
            SERR_EE: ZeroCopy, "sock_exterr_skb"."ee", 16, [];
        }
    };
}

macro_rules! kernel_members {
    ($($global:ident: $group:ident, $structure:literal.$name:literal, $size:literal,
        [$($other_structure:literal.$other_name:literal),*];)*) => {
        /// Members that the programs read.
        pub const KERNEL_MEMBERS: &[KernelMember] = &[$(KernelMember {
            global: stringify!($global),
            group: ProbeGroup::$group,
            name: ($structure, $name),
            size: $size,
            other_names: &[$(($other_structure, $other_name)),*],
        }),*];
    };
}
for_each_kernel_member!(kernel_members);

/// Members whose offsets are fixed in the programs, because the programs read several members at
/// once: group, structure, names of the member, offset in bytes.
pub const FIXED_OFFSETS: &[(ProbeGroup, &str, &[&str], u32)] = &[
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

/// Structures whose sizes are fixed in the programs: group, structure, size in bytes. They are
/// elements of arrays, or `struct page`, whose words are read at once.
pub const FIXED_SIZES: &[(ProbeGroup, &str, u32)] = &[
    (ProbeGroup::Calls, "pipe_buffer", 40),
    (ProbeGroup::Calls, "page", 64),
    (ProbeGroup::Packets, "skb_frag_t", 16),
    (ProbeGroup::Bios, "bio_vec", 16),
];
