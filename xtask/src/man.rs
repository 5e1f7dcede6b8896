//! `cargo xtask man`: writes manual pages and completions, using the test that compares them with
//! the command line.

use std::path::Path;

use crate::{Outcome, repo};

pub(crate) fn run(root: &Path) -> Outcome {
    repo::cargo(
        root,
        &[("UPDATE_EXPECT", "1")],
        &["test", "--package", "zctrace", "--bin", "zctrace", "cli::docs"],
    )
}
