//! The exit codes: a contract with scripts, so each has a name and none is ever given a second meaning.

/// All held, or all that was asked was answered.
pub(crate) const HELD: u8 = 0;

/// Content, receipt or oracle disagreed.
pub(crate) const DISAGREED: u8 = 1;

/// The command line makes no sense. The parser of the command line uses it too.
pub(crate) const USAGE: u8 = 2;

/// Something could not run or could not be answered here, and nothing disagreed.
pub(crate) const INCONCLUSIVE: u8 = 3;

/// zctrace itself failed: it could not write its answer.
pub(crate) const FAILED: u8 = 4;
