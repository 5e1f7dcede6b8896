//! Scratch memory of the programs.

/// Defines scratch memory for one run of a program, because a program's stack has only 512 bytes.
///
/// One value per CPU suffices, because the kernel never runs a program recursively on one CPU
/// (`prog->active`, `kernel/trace/bpf_trace.c`). Each program has its own map, because another
/// program can interrupt it.
macro_rules! scratch {
    ($name:ident: $type:ty) => {
        #[aya_ebpf::macros::map]
        static $name: aya_ebpf::maps::PerCpuArray<$type> = aya_ebpf::maps::PerCpuArray::with_max_entries(1, 0);
    };
}
