//! What can be wrong with a recording, and what is said of it.

use std::{fmt, io};

/// Why a file cannot be read as a recording at all.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be read.
    Io(io::Error),
    /// It does not begin as recordings do.
    NotARecording,
    /// It was made by a version whose recordings mean something else.
    Version {
        /// The version of its format.
        major: u16,
        /// Its minor part.
        minor: u16,
    },
    /// Its head is not whole, so nothing after it means anything.
    Header(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::NotARecording => f.write_str("it is not a recording of zctrace"),
            Self::Version { major, minor } => write!(
                f,
                "it is a recording of version {major}.{minor}, and this zctrace reads version {}",
                super::VERSION.0
            ),
            Self::Header(reason) => write!(f, "the head of the recording is damaged: {reason}"),
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

/// What of a recording is not used: all from the first thing that is damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Nanoseconds since watching began at which the used part ends.
    pub at_ns: u64,
    /// The first byte that is not used.
    pub at_byte: u64,
    /// How many bytes are not used; `None` if that is not known.
    pub unused_bytes: Option<u64>,
    /// What is wrong there.
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

/// Why a recording ended before its trace did.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The file cannot be written.
    Io(io::Error),
    /// The file is written so slowly that even what is not records piled up.
    TooSlow,
    /// The thread that writes ended by itself.
    WriterGone,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TooSlow => f.write_str("it is written too slowly"),
            Self::WriterGone => f.write_str("the thread that writes it is gone"),
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
