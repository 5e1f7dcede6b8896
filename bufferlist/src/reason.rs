//! Reasons that the library gives for copies and unknowns.
//!
//! They are those of `zctrace-contract`, which zctrace's reports use too: one cause has one code
//! and one description wherever it appears.

#[doc(inline)]
pub use zctrace_contract::reason::{Class, LibraryReason as Reason};
