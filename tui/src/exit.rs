//! The exit codes: a contract with scripts, so each has a name and none is ever given a second meaning.

/// All held, or all that was asked was answered.
pub(crate) const HELD: u8 = 0;

/// Content, receipt or oracle disagreed; more was copied than was allowed; or a report contradicts itself.
pub(crate) const DISAGREED: u8 = 1;

/// The command line makes no sense. The parser of the command line uses it too.
pub(crate) const USAGE: u8 = 2;

/// Something could not run or could not be answered here, and nothing disagreed.
pub(crate) const INCONCLUSIVE: u8 = 3;

/// zctrace itself failed: tracing could not be set up, so that nothing was started, or the answer could not be written.
pub(crate) const FAILED: u8 = 4;

/// The command that was judged failed, so that it may not have come to what was to be judged.
pub(crate) const COMMAND_FAILED: u8 = 5;

/// The code of an answer: its own, or that of what it failed with, which was said where it failed.
pub(crate) fn of(answer: Result<u8, u8>) -> u8 {
    match answer {
        Ok(code) | Err(code) => code,
    }
}
