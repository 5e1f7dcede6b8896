//! What the user side fills in before the programs are loaded: where members are in this kernel's structures, and what
//! is to be traced. The verifier takes these values as constants, so what they rule out costs nothing.

use aya_ebpf::Global;

/// Where a member is, in bytes from the start of its structure.
pub(crate) type Offset = Global<u32>;

macro_rules! globals {
    ($($name:ident: $type:ty, $what:literal;)*) => {$(
        #[doc = $what]
        #[unsafe(no_mangle)]
        pub(crate) static $name: Global<$type> = Global::new(0);
    )*};
}

globals! {
    SCOPE_MODE: u32, "Whom to trace: 0 those in `TRACED`, 1 a cgroup, 2 the machine.";
    SELF_TGID: u32, "Who reads the records, and is not traced when the machine is.";
    CGROUP_ID: u64, "The cgroup to trace.";
    CGROUP_LEVEL: u32, "How deep it is in the hierarchy: the root has 0.";
    FOLLOW: u32, "Whether children of traced processes are traced.";
    DIRECT: u32, "Whether kernel memory may be read as if it were the program's own (`read::cast`).";
    COOKIE_FIRST: u64, "The first half of the name by which a process announces itself; 0: nobody may.";
    COOKIE_SECOND: u64, "The second half of it.";
    SUM_SECRET: u64, "What sums over pages are mixed with.";
    SUM_PAGES: u32, "Whether pages are summed up, or bytes only counted.";

    TASK_FILES: u32, "`task_struct.files`";
    TASK_STATUS: u32, "`task_struct.thread_info.status`";
    TASK_TGID: u32, "`task_struct.tgid`";
    TASK_SIGNAL: u32, "`task_struct.signal`";
    TASK_COMM: u32, "`task_struct.comm`";
    SIGNAL_LIVE: u32, "`signal_struct.live`";
    FILES_FDT: u32, "`files_struct.fdt`";
    FDT_FD: u32, "`fdtable.fd`";
    FDT_MAX_FDS: u32, "`fdtable.max_fds`";
    FILE_INODE: u32, "`file.f_inode`";
    FILE_PRIVATE: u32, "`file.private_data`";
    FILE_MAPPING: u32, "`file.f_mapping`";
    FILE_FLAGS: u32, "`file.f_flags`";
    FILE_MODE: u32, "`file.f_mode`";
    FILE_POS: u32, "`file.f_pos`";
    FILE_DENTRY: u32, "`file.f_path.dentry`";
    DENTRY_NAME: u32, "`dentry.d_name.name`";
    DENTRY_PARENT: u32, "`dentry.d_parent`";
    INODE_MODE: u32, "`inode.i_mode`";
    INODE_INO: u32, "`inode.i_ino`";
    INODE_RDEV: u32, "`inode.i_rdev`";
    INODE_SB: u32, "`inode.i_sb`";
    INODE_SIZE: u32, "`inode.i_size`";
    INODE_PIPE: u32, "`inode.i_pipe`";
    INODE_MAPPING: u32, "`inode.i_mapping`";
    INODE_GENERATION: u32, "`inode.i_generation`";
    SB_DEV: u32, "`super_block.s_dev`";
    INODE_DENTRY: u32, "`inode.i_dentry`";
    DENTRY_ALIAS: u32, "`dentry.d_u.d_alias`";
    TASK_SPLICE_PIPE: u32, "`task_struct.splice_pipe`";
    MAPPING_HOST: u32, "`address_space.host`";
    PIPE_HEAD: u32, "`pipe_inode_info.head`";
    PIPE_TAIL: u32, "`pipe_inode_info.tail`";
    PIPE_BUFS: u32, "`pipe_inode_info.bufs`";
    PIPE_RING_SIZE: u32, "`pipe_inode_info.ring_size`";
    PAGE_COMPOUND: u32, "`page.compound_head`, since 7.2 `compound_info`";
    FOLIO_MAPPING: u32, "`folio.mapping`";
    FOLIO_INDEX: u32, "`folio.index`";
    FOLIO_NR_PAGES: u32, "`folio._nr_pages`";
    PAGE_HEAD_BIT: u32, "The number of the bit `PG_head` of a page's flags.";
    SOCKET_SK: u32, "`socket.sk`";
    SK_FAMILY: u32, "`sock.__sk_common.skc_family`";
    SK_STATE: u32, "`sock.__sk_common.skc_state`";
    SK_TYPE: u32, "`sock.sk_type`";
    SK_PROTOCOL: u32, "`sock.sk_protocol`";
    SK_DADDR: u32, "`sock.__sk_common.skc_daddr`";
    SK_RCV_SADDR: u32, "`sock.__sk_common.skc_rcv_saddr`";
    SK_V6_DADDR: u32, "`sock.__sk_common.skc_v6_daddr`";
    SK_V6_RCV_SADDR: u32, "`sock.__sk_common.skc_v6_rcv_saddr`";
    SK_DPORT: u32, "`sock.__sk_common.skc_dport`";
    SK_SPORT: u32, "`inet_sock.inet_sport`";
    SK_WMEM: u32, "`sock.sk_wmem_alloc`";
    TCP_WRITE_SEQ: u32, "`tcp_sock.write_seq`";
    TCP_COPIED_SEQ: u32, "`tcp_sock.copied_seq`";
    UNIX_PEER: u32, "`unix_sock.peer`";
    SKB_SK: u32, "`sk_buff.sk`";
    SKB_LEN: u32, "`sk_buff.len`";
    SKB_DATA_LEN: u32, "`sk_buff.data_len`";
    SKB_HEAD: u32, "`sk_buff.head`";
    SKB_DATA: u32, "`sk_buff.data`";
    SKB_END: u32, "`sk_buff.end`";
    SKB_TRANSPORT: u32, "`sk_buff.transport_header`";
    SHINFO_FLAGS: u32, "`skb_shared_info.flags`";
    SHINFO_NR_FRAGS: u32, "`skb_shared_info.nr_frags`";
    SHINFO_FRAGS: u32, "`skb_shared_info.frags`";
    SHINFO_FRAG_LIST: u32, "`skb_shared_info.frag_list`";
    DEV_IFINDEX: u32, "`net_device.ifindex`";
    DEV_FLAGS: u32, "`net_device.flags`";
    BIO_VECS: u32, "`bio.bi_io_vec`";
    BIO_SECTOR: u32, "`bio.bi_iter.bi_sector`";
    BIO_SIZE: u32, "`bio.bi_iter.bi_size`";
    BIO_IDX: u32, "`bio.bi_iter.bi_idx`";
    BIO_DONE: u32, "`bio.bi_iter.bi_bvec_done`";
    BIO_OPF: u32, "`bio.bi_opf`";
    BIO_BDEV: u32, "`bio.bi_bdev`";
    BDEV_DEV: u32, "`block_device.bd_dev`";
    SKB_CB: u32, "`sk_buff.cb`, 0: not known";
    SERR_EE: u32, "`sock_exterr_skb.ee`, 0: not known";
    REQUEST_CMD: u32, "`io_kiocb.cmd`";
    NOTIF_REPORT: u32, "`io_notif_data.zc_report`, 0: not known";
    CQE_ADDRESS: u32, "Whether `io_uring_complete` has the address of its result, not the result.";
}
