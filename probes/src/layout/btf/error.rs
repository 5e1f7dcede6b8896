//! What can be wrong with type information, or missing from it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a question about the kernel's types has no answer.
#[non_exhaustive]
#[derive(Debug)]
pub enum BtfError {
    /// The file cannot be read.
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is not BTF, or BTF of another byte order or version.
    NotBtf(&'static str),
    /// It is BTF, but does not make sense.
    Malformed(&'static str),
    /// This kernel has no such type.
    NoType {
        /// Its name.
        name: String,
    },
    /// This kernel's type has no such member.
    NoField {
        /// The type.
        of: String,
        /// The member, with the way to it.
        field: String,
    },
    /// No enum of this kernel has such an enumerator.
    NoEnumerator {
        /// Its name.
        name: String,
    },
}

impl BtfError {
    /// Whether the kernel simply does not have what was asked for, as against input that cannot be read.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::NoType { .. } | Self::NoField { .. } | Self::NoEnumerator { .. }
        )
    }
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                write!(f, "cannot read the kernel's types from {}: {error}", path.display())?;
                if error.kind() == io::ErrorKind::NotFound {
                    f.write_str(" (the kernel needs CONFIG_DEBUG_INFO_BTF, or give a file of its types with --btf)")?;
                }
                Ok(())
            }
            Self::NotBtf(why) => write!(f, "this is not BTF: {why}"),
            Self::Malformed(why) => write!(f, "the BTF is damaged: {why}"),
            Self::NoType { name } => write!(f, "this kernel has no type `{name}`"),
            Self::NoField { of, field } => write!(f, "this kernel's `{of}` has no `{field}`"),
            Self::NoEnumerator { name } => write!(f, "this kernel has no enumerator `{name}`"),
        }
    }
}

impl std::error::Error for BtfError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }
}
