//! What this process may do: what loading programs needs, and what is given up once they are attached.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs, set_thread_groups,
};

use super::error::{SetupError, SetupErrorKind};

/// Whether this thread may load programs that read the kernel's memory.
pub(super) fn may_load() -> Result<(), SetupError> {
    let Ok(CapabilitySets { effective, .. }) = capabilities(None) else {
        // Then the kernel's answer to bpf(2) has to do.
        return Ok(());
    };
    let missing: Vec<_> = [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::PERFMON, "CAP_PERFMON")]
        .into_iter()
        // It stands for both, as it did before 5.8 (include/linux/capability.h, bpf_capable and perfmon_capable).
        .filter(|(one, _)| !effective.intersects(*one | CapabilitySet::SYS_ADMIN))
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(SetupErrorKind::NoPrivilege { missing }.into())
    }
}

/// Gives up, for good, what a trace that is attached does not need; `signals` says whether processes of other users are still
/// to be sent signals. Its own files are to be open by then.
///
/// What is left of the capabilities is `CAP_BPF` (reading maps; before 5.19 the kernel asks for it each time), `CAP_SYS_PTRACE`
/// (`/proc/PID/maps` of other users' processes) and, for `signals`, `CAP_KILL`. The inheritable and ambient sets and the
/// supplementary groups become empty, and `no_new_privs` is set: without it the next program that root executes would have
/// all of them again. The user stays who he is.
///
/// All this is the calling thread's, and that of threads that it starts from then on: to be called before there are others.
/// What was started before keeps what it has.
///
/// # Errors
///
/// If the kernel refuses it. Then some of it may have been given up.
pub fn give_up(signals: bool) -> io::Result<()> {
    let mut needed = CapabilitySet::BPF | CapabilitySet::SYS_PTRACE;
    if signals {
        needed |= CapabilitySet::KILL;
    }
    let have = capabilities(None)?;
    if !have.effective.contains(CapabilitySet::BPF) {
        needed |= CapabilitySet::SYS_ADMIN;
    }
    if have.effective.contains(CapabilitySet::SETGID) {
        // A user namespace may not allow it: then there are no groups of the host's in it either.
        let _ = set_thread_groups(&[]);
    }
    let kept = have.permitted & needed;
    set_capabilities(
        None,
        CapabilitySets {
            effective: have.effective & kept,
            permitted: kept,
            // What is not inheritable any more is not ambient either.
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(set_no_new_privs(true)?)
}
