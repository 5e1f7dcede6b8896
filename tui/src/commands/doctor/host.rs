//! Properties of this machine and this process: privileges, settings, the kernel's types.

use std::path::{Path, PathBuf};

use zctrace_probes::layout::btf::{Btf, BtfError, KERNEL_BTF_PATH};
use zctrace_probes::layout::offsets::{KernelOffsets, ProbeGroup};
use zctrace_probes::probe::SetupErrorKind;

/// Capabilities (include/uapi/linux/capability.h).
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Privileges of a process.
#[derive(Clone, Debug)]
pub(crate) struct Privileges {
    /// Effective user ID.
    pub(crate) uid: u32,
    /// Required capabilities that the process does not have.
    pub(crate) missing: Vec<&'static str>,
    /// `true` if processes of other users can be inspected, for the call sites in their programs.
    pub(crate) can_trace_other_users: bool,
}

impl Privileges {
    /// Returns the privileges of this process.
    pub(crate) fn own() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self::from_status(rustix::process::geteuid().as_raw(), &status)
    }

    /// Parses the effective capabilities from `/proc/self/status`.
    fn from_status(uid: u32, status: &str) -> Self {
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or_default();
        let has = |capability: u32| effective >> capability & 1 == 1;
        let missing = [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
            .into_iter()
            .filter(|(capability, _)| !has(*capability) && !has(CAP_SYS_ADMIN))
            .map(|(_, name)| name)
            .collect();
        Self {
            uid,
            missing,
            can_trace_other_users: has(CAP_SYS_PTRACE),
        }
    }
}

/// A kernel setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Setting {
    /// Name of the setting.
    pub(crate) name: &'static str,
    /// Value; `None` if this kernel does not have the setting.
    pub(crate) value: Option<String>,
}

/// Returns the settings that are commonly checked when tracing does not work.
pub(crate) fn settings() -> Vec<Setting> {
    let names = ["perf_event_paranoid", "kptr_restrict", "unprivileged_bpf_disabled"];
    let of = |name| Setting {
        name,
        value: std::fs::read_to_string(format!("/proc/sys/kernel/{name}"))
            .ok()
            .map(|text| text.trim().to_owned()),
    };
    names.map(of).into()
}

/// Returns the active lockdown mode: `integrity` for `none [integrity] confidentiality`. `None` if
/// the kernel does not support lockdown, or this user may not read it.
pub(crate) fn lockdown() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    parse_lockdown(&text)
}

fn parse_lockdown(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// BTF of the kernel, as far as zctrace needs it.
#[derive(Debug)]
pub(crate) struct BtfInfo {
    /// File that the types were read from.
    pub(crate) path: PathBuf,
    /// Number of members that were found.
    pub(crate) found: usize,
    /// Members that were not found, with the reason.
    pub(crate) missing: Vec<String>,
    /// `true` if a missing member makes tracing impossible.
    pub(crate) fatal: bool,
    /// Offsets of all members.
    pub(crate) plan: KernelOffsets,
}

/// Reads the types. The error is a cause and a hint.
pub(crate) fn types(btf: Option<&Path>) -> Result<BtfInfo, (String, String)> {
    let path = btf.unwrap_or_else(|| Path::new(KERNEL_BTF_PATH));
    let plan = Btf::from_file(path).and_then(|types| KernelOffsets::from_btf(&types));
    let plan = plan.map_err(|error: BtfError| {
        let error = zctrace_probes::probe::SetupError::from(SetupErrorKind::NoBtf(error));
        (error.to_string(), error.hint())
    })?;
    let wanted = plan
        .missing
        .iter()
        .filter(|missing| missing.group != ProbeGroup::Always);
    Ok(BtfInfo {
        path: path.to_owned(),
        found: plan.values.len(),
        missing: wanted.map(ToString::to_string).collect(),
        fatal: plan.missing_for(ProbeGroup::Calls).is_some(),
        plan,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_come_from_proc_status() {
        let of = |caps: &str| Privileges::from_status(1000, &format!("Name:\tx\nCapEff:\t{caps}\n"));
        assert_eq!(of("0000000000000000").missing, ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(of("000001ffffffffff").missing, [""; 0]);
        assert_eq!(of("0000008000000000").missing, ["CAP_PERFMON"]);
        assert_eq!(of("0000000000200000").missing, [""; 0], "CAP_SYS_ADMIN is enough");
        assert!(of("0000000000080000").can_trace_other_users && !of("0").can_trace_other_users);
        assert_eq!(
            Privileges::from_status(0, "").missing.len(),
            2,
            "what is not known is not there"
        );
    }

    #[test]
    fn parses_active_lockdown_mode() {
        assert_eq!(
            parse_lockdown("none [integrity] confidentiality\n").as_deref(),
            Some("integrity")
        );
        assert_eq!(
            parse_lockdown("[none] integrity confidentiality\n").as_deref(),
            Some("none")
        );
        assert_eq!(parse_lockdown(""), None);
    }

    #[test]
    fn unreadable_btf_has_a_cause_and_a_hint() {
        let (cause, mend) = types(Some(Path::new("/nonexistent"))).expect_err("there is none");
        assert!(
            cause.contains("/nonexistent") && mend.contains("--btf FILE"),
            "{cause}\n{mend}"
        );
    }
}
