//! `cargo xtask man`: manual pages and completions out of the command line. The test that holds them to it writes them, too.

use std::path::Path;

use crate::{Outcome, repo};

pub(crate) fn run(root: &Path) -> Outcome {
    repo::cargo(
        root,
        &[("UPDATE_EXPECT", "1")],
        &["test", "--package", "zctrace", "--bin", "zctrace", "cli::docs"],
    )
}
