//! What the user side fills in before the programs are loaded: where members are in this kernel's structures, and what
//! is to be traced. The verifier takes these values as constants, so what they rule out costs nothing.

use aya_ebpf::Global;

/// Where a member is, in bytes from the start of its structure.
pub(crate) type Offset = Global<u32>;

macro_rules! globals {
    ($($name:ident: $type:ty, $doc:expr;)*) => {$(
        #[doc = $doc]
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
    RDONLY_CAST: u32, "Whether kernel memory may be read as if it were the program's own (`read::cast`).";
    COOKIE_FIRST: u64, "The first half of the name by which a process announces itself; 0: nobody may.";
    COOKIE_SECOND: u64, "The second half of it.";
    DIGEST_SECRET: u64, "What sums over pages are mixed with.";
    DIGEST_PAGES: u32, "Whether pages are summed up, or bytes only counted.";
    PAGE_HEAD_BIT: u32, "The number of the bit `PG_head` of a page's flags.";
    CQE_BY_ADDRESS: u32, "Whether `io_uring_complete` has the address of its result, not the result.";
}

macro_rules! members {
    ($($global:ident: $group:ident, $structure:literal.$name:literal, $size:literal, $other_names:tt;)*) => {
        globals! {$($global: u32, concat!("`", $structure, ".", $name, "`");)*}
    };
}
zctrace_records::for_each_kernel_member!(members);
