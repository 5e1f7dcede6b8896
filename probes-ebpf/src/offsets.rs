//! Globals that the loader fills in: offsets of structure members in the running kernel, and the
//! scope of tracing.
//!
//! The verifier treats their values as constants, so branches that they rule out cost nothing.

use aya_ebpf::Global;

/// Offset of a member from the start of its structure, in bytes.
pub(crate) type Offset = Global<u32>;

macro_rules! globals {
    ($($name:ident: $type:ty, $doc:expr;)*) => {$(
        #[doc = $doc]
        #[unsafe(no_mangle)]
        pub(crate) static $name: Global<$type> = Global::new(0);
    )*};
}

globals! {
    SCOPE_MODE: u32, "Scope of tracing: 0 the processes in `TRACED`, 1 a cgroup, 2 the machine.";
    SELF_TGID: u32, "Process ID of the reader of the records, which is not traced when the scope is the machine.";
    CGROUP_ID: u64, "ID of the traced cgroup.";
    CGROUP_LEVEL: u32, "Level of the traced cgroup in the hierarchy, where the root has 0.";
    FOLLOW: u32, "1 if children of traced processes are traced.";
    RDONLY_CAST: u32, "1 if kernel memory may be read directly, through pointers of `bpf_rdonly_cast` (`read::cast`).";
    COOKIE_FIRST: u64, "First half of the name by which a process announces itself; 0 means that no process can.";
    COOKIE_SECOND: u64, "Second half of the name by which a process announces itself.";
    DIGEST_SECRET: u64, "Secret of page digests (`mix`).";
    DIGEST_PAGES: u32, "1 if page digests are computed, 0 if bytes are only counted.";
    PAGE_HEAD_BIT: u32, "Number of the bit `PG_head` in the flags of a page.";
    PAGE_UPTODATE_BIT: u32, "Number of the bit `PG_uptodate` in the flags of a page.";
    PIPEFS_DEV: u32, "Device number of pipefs in the kernel's form; 0 if it is not known.";
    CQE_BY_ADDRESS: u32, "1 if `io_uring_complete` passes the address of the result instead of the result.";
}

macro_rules! members {
    ($($global:ident: $group:ident, $structure:literal.$name:literal, $size:literal, $other_names:tt;)*) => {
        globals! {$($global: u32, concat!("`", $structure, ".", $name, "`");)*}
    };
}
zctrace_records::for_each_kernel_member!(members);
