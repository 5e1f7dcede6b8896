//! Errors of setting up a trace, each with a hint that fixes it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

use crate::layout::btf::BtfError;
use crate::layout::offsets::MissingMember;

/// Error of loading or attaching the probes.
#[derive(Debug)]
pub struct SetupError {
    /// Cause of the error.
    pub kind: SetupErrorKind,
}

/// Cause of a [`SetupError`].
#[non_exhaustive]
#[derive(Debug)]
pub enum SetupErrorKind {
    /// This process lacks the privilege to load programs.
    NoPrivilege {
        /// Missing capabilities.
        missing: Vec<&'static str>,
    },
    /// The kernel's types cannot be read.
    NoBtf(BtfError),
    /// The given BTF file belongs to another kernel.
    ForeignBtf {
        /// Path of the BTF file.
        file: PathBuf,
        /// Structure and member that differ.
        member: String,
        /// Offset of the member in the file, in bytes; `None` if the file lacks it.
        in_file: Option<u32>,
        /// Offset of the member in this kernel, in bytes; `None` if this kernel lacks it.
        in_kernel: Option<u32>,
    },
    /// This kernel lacks a member without which nothing can be shown.
    MissingMember(MissingMember),
    /// The kernel refused to load or attach a program.
    Refused {
        /// Name of the program.
        program: &'static str,
        /// Error of bpf(2).
        error: io::Error,
        /// Log of the verifier.
        log: String,
    },
    /// This kernel lacks a tracepoint, or passes other arguments to it.
    NoTracepoint {
        /// Name of the tracepoint.
        name: &'static str,
    },
    /// Page digests are not available, or failed the selftest.
    NoDigest {
        /// Reason for that.
        reason: String,
    },
    /// Any other cause, as text.
    Other(String),
}

impl SetupError {
    /// Returns what the user can do about the error, as a command where there is one.
    #[must_use]
    pub fn hint(&self) -> String {
        match &self.kind {
            SetupErrorKind::NoPrivilege { missing } if rustix::process::geteuid().is_root() => {
                let options: Vec<String> = missing
                    .iter()
                    .map(|name| format!("--cap-add {}", name.trim_start_matches("CAP_")))
                    .collect();
                format!(
                    "you are root without it, as in a container: run it on the host itself, or give the container {}",
                    options.join(" ")
                )
            }
            SetupErrorKind::NoPrivilege { .. } => {
                "run it with sudo, or once: sudo setcap cap_bpf,cap_perfmon+ep \"$(command -v zctrace)\"".to_owned()
            }
            SetupErrorKind::NoBtf(BtfError::Unreadable { .. }) => {
                "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (grep BTF /boot/config-$(uname -r)), or give a file of \
                 its types with --btf FILE (pahole --btf_encode_detached FILE vmlinux)"
                    .to_owned()
            }
            SetupErrorKind::NoBtf(_) => "give a file of this kernel's own types with --btf FILE".to_owned(),
            SetupErrorKind::ForeignBtf { .. } => {
                "leave --btf out: this kernel tells its own types (/sys/kernel/btf/vmlinux)".to_owned()
            }
            SetupErrorKind::MissingMember(_) | SetupErrorKind::NoTracepoint { .. } => {
                "this kernel differs from those that zctrace knows: please report the output of `zctrace doctor`"
                    .to_owned()
            }
            SetupErrorKind::Refused { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                "run it with sudo on the host itself (a container, kernel lockdown or a security module forbids bpf(2) \
                 here: cat /sys/kernel/security/lockdown)"
                    .to_owned()
            }
            SetupErrorKind::Refused { .. } => {
                "please report it with the verifier's output: zctrace doctor --verbose".to_owned()
            }
            SetupErrorKind::NoDigest { .. } => "watch at --level full, which needs no sums".to_owned(),
            SetupErrorKind::Other(_) => "run `zctrace doctor` to see what is missing".to_owned(),
        }
    }

    /// Converts aya's error about a program.
    pub(super) fn refused(program: &'static str, error: ProgramError) -> Self {
        let kind = match error {
            ProgramError::LoadError { io_error, verifier_log } => SetupErrorKind::Refused {
                program,
                error: io_error,
                log: verifier_log.to_string(),
            },
            ProgramError::SyscallError(error) => SetupErrorKind::Refused {
                program,
                error: error.io_error,
                log: String::new(),
            },
            other => SetupErrorKind::Other(format!("{program}: {other}")),
        };
        Self { kind }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            SetupErrorKind::NoPrivilege { missing } => {
                write!(
                    f,
                    "loading probes needs {}, which this process has not",
                    missing.join(" and ")
                )
            }
            SetupErrorKind::NoBtf(error) => error.fmt(f),
            SetupErrorKind::ForeignBtf {
                file,
                member: what,
                in_file: there,
                in_kernel: here,
            } => {
                let at = |at: &Option<u32>| at.map_or_else(|| "not there".to_owned(), |at| format!("at {at}"));
                write!(
                    f,
                    "the types in {} are not those of this kernel: {what} is {} in them, and {} here",
                    file.display(),
                    at(there),
                    at(here)
                )
            }
            SetupErrorKind::MissingMember(missing) => missing.fmt(f),
            SetupErrorKind::Refused { program, error, log } => {
                write!(f, "the kernel refused the program {program}: {error}")?;
                // The verifier writes its reason last, before the statistics.
                if let Some(reason) = log.lines().rev().find(|line| !line.starts_with("processed ")) {
                    write!(f, " ({reason})")?;
                }
                Ok(())
            }
            SetupErrorKind::NoTracepoint { name } => {
                write!(f, "this kernel has no tracepoint {name} as zctrace knows it")
            }
            SetupErrorKind::NoDigest { reason } => {
                write!(f, "the levels digest and counters need sums over pages: {reason}")
            }
            SetupErrorKind::Other(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            SetupErrorKind::NoBtf(error) => Some(error),
            SetupErrorKind::Refused { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<SetupErrorKind> for SetupError {
    fn from(kind: SetupErrorKind) -> Self {
        Self { kind }
    }
}

impl From<BtfError> for SetupError {
    fn from(error: BtfError) -> Self {
        SetupErrorKind::NoBtf(error).into()
    }
}

impl From<EbpfError> for SetupError {
    fn from(error: EbpfError) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        SetupErrorKind::Other(text).into()
    }
}

impl From<MapError> for SetupError {
    fn from(error: MapError) -> Self {
        EbpfError::MapError(error).into()
    }
}
