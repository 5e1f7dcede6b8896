//! Errors of opening and writing recordings, and the truncation of a damaged one.

use std::{fmt, io};

/// Reason why a file cannot be opened as a recording.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be read.
    Io(io::Error),
    /// The file does not start with [`MAGIC`](super::MAGIC).
    NotARecording,
    /// The recording has a different major version of the format.
    Version {
        /// Major version of the recording's format.
        major: u16,
        /// Minor version of the recording's format.
        minor: u16,
    },
    /// The header is damaged, so the blocks cannot be interpreted.
    Header(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::NotARecording => f.write_str("not a recording of zctrace"),
            Self::Version { major, minor } => write!(
                f,
                "the recording has format version {major}.{minor}, and this zctrace reads version {}",
                super::VERSION.0
            ),
            Self::Header(reason) => write!(f, "the header of the recording is damaged: {reason}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Unused part of a recording: everything from the first damaged or missing block or frame on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Time at which the used part ends, in nanoseconds since the trace began.
    pub at_ns: u64,
    /// Position in the file of the first unused byte.
    pub at_byte: u64,
    /// Number of unused bytes; `None` if the length of the file is unknown.
    pub unused_bytes: Option<u64>,
    /// Description of the damage.
    pub reason: String,
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at_ns as f64 / 1e9;
        write!(
            f,
            "the recording is cut short: {}; only what was recorded until {seconds:.3} s is used",
            self.reason
        )?;
        match self.unused_bytes {
            Some(0) => Ok(()),
            Some(bytes) => write!(f, ", not the {bytes} bytes from byte {} on", self.at_byte),
            None => write!(f, ", nothing from byte {} on", self.at_byte),
        }
    }
}

/// Reason why a recording ended before its trace did.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// Writing to the file failed.
    Io(io::Error),
    /// The file is written so slowly that inputs other than records exceeded half the maximum size
    /// of a block.
    TooSlow,
    /// The thread that writes the file ended unexpectedly.
    WriterGone,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TooSlow => f.write_str("the file is written too slowly"),
            Self::WriterGone => f.write_str("the thread that writes the file ended unexpectedly"),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}
