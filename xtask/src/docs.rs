//! `cargo xtask docs`: documentation of every package of the workspace, with warnings as errors.

use std::path::Path;

use crate::{Outcome, repo};

pub(crate) fn run(root: &Path) -> Outcome {
    repo::cargo(
        root,
        &[("RUSTDOCFLAGS", "-D warnings")],
        &["doc", "--workspace", "--no-deps"],
    )
}
