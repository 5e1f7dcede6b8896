//! Privileges of this process: what loading requires, and what is dropped once the programs are
//! attached.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs, set_thread_groups,
};

use super::error::{SetupError, SetupErrorKind};

/// Returns an error if this thread lacks the capabilities to load tracing programs.
pub(super) fn ensure_can_load() -> Result<(), SetupError> {
    let Ok(CapabilitySets { effective, .. }) = capabilities(None) else {
        // The result of bpf(2) decides then.
        return Ok(());
    };
    let missing: Vec<_> = [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::PERFMON, "CAP_PERFMON")]
        .into_iter()
        // CAP_SYS_ADMIN implies both, as before 5.8 (include/linux/capability.h: bpf_capable(),
        // perfmon_capable()).
        .filter(|(one, _)| !effective.intersects(*one | CapabilitySet::SYS_ADMIN))
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(SetupErrorKind::NoPrivilege { missing }.into())
    }
}

/// Permanently drops every privilege that an attached trace does not need.
///
/// Call it after the program's own files are open. The remaining capabilities are `CAP_BPF`
/// (reading maps; before 5.19 the kernel checks it on each access), `CAP_SYS_PTRACE`
/// (`/proc/PID/maps` of other users' processes) and, with `keep_kill`, `CAP_KILL` (signals to
/// processes of other users). The inheritable and ambient sets and the supplementary groups become
/// empty. `no_new_privs` is set, because the next program that root executes would otherwise regain
/// every capability. The user ID is unchanged.
///
/// All of this applies to the calling thread and to threads that it creates later, so call it while
/// there are no others. Threads and processes that were created before keep their privileges.
///
/// # Errors
///
/// If the kernel refuses a step. Some privileges may then have been dropped.
pub fn drop_capabilities(keep_kill: bool) -> io::Result<()> {
    let mut needed = CapabilitySet::BPF | CapabilitySet::SYS_PTRACE;
    if keep_kill {
        needed |= CapabilitySet::KILL;
    }
    let have = capabilities(None)?;
    if !have.effective.contains(CapabilitySet::BPF) {
        needed |= CapabilitySet::SYS_ADMIN;
    }
    if have.effective.contains(CapabilitySet::SETGID) {
        // A user namespace may forbid this. No groups of the host are in effect there.
        let _ = set_thread_groups(&[]);
    }
    let kept = have.permitted & needed;
    set_capabilities(
        None,
        CapabilitySets {
            effective: have.effective & kept,
            permitted: kept,
            // A capability that is not inheritable cannot be ambient.
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(set_no_new_privs(true)?)
}
