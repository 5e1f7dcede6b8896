//! Exit codes. They are a contract with scripts, so no code is ever given a second meaning.

/// Every check passed, or the request was answered.
pub(crate) const SUCCESS: u8 = 0;

/// A check failed: content, receipt and oracle disagree, more was copied than allowed, or a report
/// contradicts itself.
pub(crate) const CHECK_FAILED: u8 = 1;

/// The command line is invalid. clap uses the same code.
pub(crate) const USAGE: u8 = 2;

/// Part of the request could not be run or answered on this machine, and no check failed.
pub(crate) const INCONCLUSIVE: u8 = 3;

/// zctrace itself failed: tracing could not be set up, so that nothing was started, or the output
/// could not be written.
pub(crate) const ERROR: u8 = 4;

/// The command under test failed, so that it may not have reached the part that is judged.
pub(crate) const COMMAND_FAILED: u8 = 5;

/// Returns the exit code of a finished subcommand. An `Err` is the code of an error that was
/// already printed.
pub(crate) fn from_result(result: Result<u8, u8>) -> u8 {
    match result {
        Ok(code) | Err(code) => code,
    }
}

/// Returns the exit code that shells use for a program that was ended by `signal`.
pub(crate) fn from_signal(signal: u8) -> u8 {
    128_u8.saturating_add(signal)
}
