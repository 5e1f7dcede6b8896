//! `cargo xtask bench`: criterion benchmarks of parts, then paired runs of whole paths, if the
//! repository has them.

use std::path::Path;

use crate::{Outcome, repo};

/// Locations of the paired runs, for both forms of a cargo example.
const PAIRED: [&str; 2] = ["bufferlist/examples/paired.rs", "bufferlist/examples/paired/main.rs"];

pub(crate) fn run(root: &Path) -> Outcome {
    repo::cargo(root, &[], &["bench", "-p", "bufferlist"])?;
    if PAIRED.iter().any(|path| root.join(path).is_file()) {
        repo::cargo(
            root,
            &[],
            &["run", "--release", "-p", "bufferlist", "--example", "paired"],
        )
    } else {
        println!("bench: no paired runs: there is no {}", PAIRED[0]);
        Ok(())
    }
}
