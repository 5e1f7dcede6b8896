//! Signals that ask zctrace to end, or that it forwards to the command.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::raw::WithRawSiginfo;

/// A signal that was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReceivedSignal {
    /// Signal number.
    pub(crate) signal: i32,
    /// `true` if the kernel sent it, as for terminal keys. The command, in the same process group,
    /// has then received it too.
    pub(crate) by_kernel: bool,
}

/// Signal handlers, and the signals received since the last call of [`Signals::take`].
pub(crate) struct Signals(SignalsInfo<WithRawSiginfo>);

impl Signals {
    /// Installs the handlers. Signals that are ignored, as by `nohup`, stay ignored, as they will
    /// be for the command.
    pub(crate) fn catch() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = parse_ignored(&status);
        let wanted = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
        let wanted = wanted.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
        Ok(Self(SignalsInfo::new(wanted)?))
    }

    /// Returns the signals received since the last call, without waiting.
    pub(crate) fn take(&mut self) -> Vec<ReceivedSignal> {
        let received = self.0.pending().map(|info| ReceivedSignal {
            signal: info.si_signo,
            // A signal from a process has a code of 0 or below (sigaction(2)).
            by_kernel: info.si_code > 0,
        });
        received.collect()
    }
}

/// Returns whether this process ignores a signal, as it does under `nohup`.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse_ignored(&status) >> (signal - 1) & 1 != 0
}

/// Parses the mask of ignored signals from `/proc/PID/status`. Bit N-1 is signal N.
fn parse_ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_mask_of_ignored_signals() {
        assert_eq!(
            parse_ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"),
            0x1001
        );
        assert_eq!(parse_ignored("Name:\tx\n"), 0);
    }
}
