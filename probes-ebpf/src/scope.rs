//! Scope of tracing.

use aya_ebpf::helpers::generated;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;

use crate::offsets;
use crate::read::member;

/// `BPF_F_NO_PREALLOC` (include/uapi/linux/bpf.h), for maps that are usually almost empty.
pub(crate) const NO_PREALLOC: u32 = 1;

/// Traced processes, by tgid.
#[map]
pub(crate) static TRACED: HashMap<u32, u8> = HashMap::with_max_entries(65_536, NO_PREALLOC);

/// `TS_COMPAT` (`arch/x86/include/asm/thread_info.h`): the thread is inside a system call of a
/// 32-bit program.
const TS_COMPAT: u32 = 2;

/// Returns whether the current thread, of process `tgid`, is traced.
#[inline(always)]
pub(crate) fn is_traced(tgid: u32) -> bool {
    match offsets::SCOPE_MODE.load() {
        0 => TRACED.get_ptr(tgid).is_some(),
        1 => {
            // SAFETY: the helper takes only a number and thus has no preconditions.
            let id = unsafe { generated::bpf_get_current_ancestor_cgroup_id(offsets::CGROUP_LEVEL.load() as i32) };
            id == offsets::CGROUP_ID.load()
        }
        _ => tgid != offsets::SELF_TGID.load(),
    }
}

/// Returns whether the current call was made in 32-bit mode, where numbers and arguments have other
/// meanings.
#[inline(always)]
pub(crate) fn is_compat_call() -> bool {
    // SAFETY: the helper has no arguments and thus no preconditions.
    let task = unsafe { generated::bpf_get_current_task() };
    member::<u32>(task, &offsets::TASK_STATUS) & TS_COMPAT != 0
}
