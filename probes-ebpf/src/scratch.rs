//! Scratch memory of the programs.

/// Defines room for one run of a program, as its stack has 512 bytes. The kernel never runs a program within itself on
/// one CPU (`prog->active`, `kernel/trace/bpf_trace.c`); each has its own room, as another may interrupt it.
macro_rules! scratch {
    ($name:ident: $type:ty) => {
        #[aya_ebpf::macros::map]
        static $name: aya_ebpf::maps::PerCpuArray<$type> = aya_ebpf::maps::PerCpuArray::with_max_entries(1, 0);
    };
}
