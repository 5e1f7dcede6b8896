//! Whom to trace.

use aya_ebpf::helpers::generated;

use crate::maps::TRACED;
use crate::offsets as at;
use crate::read::member;

/// `TS_COMPAT` (`arch/x86/include/asm/thread_info.h`): the thread is inside a system call of a 32-bit program.
const TS_COMPAT: u32 = 2;

/// Whether the current thread, of process `tgid`, is traced.
#[inline(always)]
pub(crate) fn has(tgid: u32) -> bool {
    match at::SCOPE_MODE.load() {
        0 => TRACED.get_ptr(tgid).is_some(),
        1 => {
            // SAFETY: the helper takes a number.
            let id = unsafe { generated::bpf_get_current_ancestor_cgroup_id(at::CGROUP_LEVEL.load() as i32) };
            id == at::CGROUP_ID.load()
        }
        _ => tgid != at::SELF_TGID.load(),
    }
}

/// Whether the current call was made in 32-bit mode: numbers and arguments mean something else then.
#[inline(always)]
pub(crate) fn is_compat() -> bool {
    // SAFETY: the helper takes nothing.
    let task = unsafe { generated::bpf_get_current_task() };
    member::<u32>(task, &at::TASK_STATUS) & TS_COMPAT != 0
}
