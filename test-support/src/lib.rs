//! Helpers shared by the tests of all crates.
//!
//! [`skip!`] reports a test that cannot run on this machine. [`assert_snapshot`],
//! [`assert_snapshots`] and [`assert_binary_snapshot`] compare output with committed files, which
//! one command updates:
//!
//! ```text
//! UPDATE_EXPECT=1 cargo test
//! ```

mod skip;
mod snapshot;

pub use skip::{print_uncaptured, report_skip};
pub use snapshot::{assert_binary_snapshot, assert_snapshot, assert_snapshots, is_updating};
