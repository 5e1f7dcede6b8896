//! The signals that ask zctrace to end, or that it passes on to the command.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::raw::WithRawSiginfo;

/// A signal that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Caught {
    /// Its number.
    pub(crate) signal: i32,
    /// Whether the kernel sent it, as it does for keys of a terminal: then the command, in the same group, has it already.
    pub(crate) by_kernel: bool,
}

/// The signals that have come since the last look.
pub(crate) struct Signals(SignalsInfo<WithRawSiginfo>);

impl Signals {
    /// Catches them from now on. What zctrace was told to ignore (`nohup`) it goes on to ignore, as the command will.
    pub(crate) fn catch() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = ignored(&status);
        let wanted = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
        let wanted = wanted.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
        Ok(Self(SignalsInfo::new(wanted)?))
    }

    /// What came. Does not wait.
    pub(crate) fn take(&mut self) -> Vec<Caught> {
        let caught = self.0.pending().map(|info| Caught {
            signal: info.si_signo,
            // What a process sends has a code of 0 or below.
            by_kernel: info.si_code > 0,
        });
        caught.collect()
    }
}

/// Whether zctrace was told to ignore a signal, as `nohup` does.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status) >> (signal - 1) & 1 != 0
}

/// The signals that are ignored, a bit each, by what the kernel says of a process.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"), 0x1001);
        assert_eq!(ignored("Name:\tx\n"), 0);
    }
}
