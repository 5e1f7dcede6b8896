//! Why tracing could not be set up, and the command that mends it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

use crate::layout::btf::BtfError;
use crate::layout::plan::Missing;

/// Why the probes cannot be loaded.
#[derive(Debug)]
pub struct SetupError {
    /// The cause.
    pub kind: SetupErrorKind,
}

/// What stands in the way.
#[non_exhaustive]
#[derive(Debug)]
pub enum SetupErrorKind {
    /// This process may not load programs.
    NoPrivilege {
        /// The capabilities that it lacks.
        missing: Vec<&'static str>,
    },
    /// The kernel's types cannot be read.
    NoBtf(BtfError),
    /// The types that were given are not this kernel's.
    OtherTypes {
        /// Their file.
        file: PathBuf,
        /// What differs: a structure and its member.
        what: String,
        /// Where it is in that file, in bytes from the start; `None` if it is not there.
        there: Option<u32>,
        /// Where this kernel has it.
        here: Option<u32>,
    },
    /// A member that nothing can be shown without is not in this kernel.
    MissingField(Missing),
    /// The kernel refused a program.
    Refused {
        /// Which one.
        program: &'static str,
        /// What the kernel said.
        error: io::Error,
        /// What its verifier said.
        log: String,
    },
    /// This kernel has no tracepoint of that name, or one with other arguments.
    NoTracepoint {
        /// Its name.
        name: &'static str,
    },
    /// Sums over pages cannot be made, or were not seen to be.
    NoSums {
        /// Why.
        why: String,
    },
    /// Something else.
    Other(String),
}

impl SetupError {
    /// Says what to do about it: where there is one, the exact command.
    #[must_use]
    pub fn mend(&self) -> String {
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
            SetupErrorKind::OtherTypes { .. } => {
                "leave --btf out: this kernel tells its own types (/sys/kernel/btf/vmlinux)".to_owned()
            }
            SetupErrorKind::MissingField(_) | SetupErrorKind::NoTracepoint { .. } => {
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
            SetupErrorKind::NoSums { .. } => "watch at --level full, which needs no sums".to_owned(),
            SetupErrorKind::Other(_) => "run `zctrace doctor` to see what is missing".to_owned(),
        }
    }

    /// A program that the kernel did not take.
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
            SetupErrorKind::OtherTypes {
                file,
                what,
                there,
                here,
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
            SetupErrorKind::MissingField(missing) => missing.fmt(f),
            SetupErrorKind::Refused { program, error, log } => {
                write!(f, "the kernel refused the program {program}: {error}")?;
                // The verifier's last words are its reason.
                if let Some(reason) = log.lines().rev().find(|line| !line.starts_with("processed ")) {
                    write!(f, " ({reason})")?;
                }
                Ok(())
            }
            SetupErrorKind::NoTracepoint { name } => {
                write!(f, "this kernel has no tracepoint {name} as zctrace knows it")
            }
            SetupErrorKind::NoSums { why } => write!(f, "the levels digest and counters need sums over pages: {why}"),
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
