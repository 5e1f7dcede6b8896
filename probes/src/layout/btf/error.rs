//! Errors of reading type information.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Error of a query about the kernel's types.
#[non_exhaustive]
#[derive(Debug)]
pub enum BtfError {
    /// The file cannot be read.
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        error: io::Error,
    },
    /// The bytes are not BTF, or are BTF of another byte order or version.
    NotBtf(&'static str),
    /// The bytes are BTF, but inconsistent.
    Malformed(&'static str),
    /// The kernel has no such type.
    NoType {
        /// Name of the type.
        name: String,
    },
    /// The type has no such member.
    NoField {
        /// Name of the type.
        type_name: String,
        /// Path of the member, such as `bi_iter.bi_size`.
        field: String,
    },
    /// No enum of the kernel has such an enumerator.
    NoEnumerator {
        /// Name of the enumerator.
        name: String,
    },
}

impl BtfError {
    /// Returns whether the kernel merely lacks the item, as opposed to unreadable input.
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
            Self::NoField { type_name: of, field } => write!(f, "this kernel's `{of}` has no `{field}`"),
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
