//! Filesystems that a child of a test mounts for itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::skip;

/// Runs a command; returns its error output if it failed.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// Unshares the mounts of this process: they disappear when it ends.
pub(crate) fn own_mounts() -> Result<(), String> {
    // SAFETY: unshare and mount change only this process's view of mounts, and no memory.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(format!("unshare: {}", std::io::Error::last_os_error()));
    }
    command("mount", &["--make-rprivate", "/"])
}

/// A filesystem in a file, mounted on a directory.
pub(crate) fn mounted(dir: &Path, make: &[&str], size: u64, options: &str) -> Result<PathBuf, String> {
    let (image, folder) = (dir.join("image"), dir.join("mount"));
    std::fs::File::create(&image)
        .and_then(|file| file.set_len(size))
        .expect("an image");
    std::fs::create_dir(&folder).expect("a folder");
    own_mounts()?;
    let image = image.to_str().expect("a path");
    command(make[0], &[&make[1..], &[image]].concat())?;
    command("mount", &["-o", options, image, folder.to_str().expect("a path")])?;
    Ok(folder)
}

/// Sets up, in a child, mounts that only the child sees. If that is impossible, the reason reaches
/// the parent as a skip.
pub(crate) fn set_up(test: &str, setup: Result<PathBuf, String>) -> Option<PathBuf> {
    setup.map_err(|reason| skip!(test, "{reason}")).ok()
}

/// A child that had to skip has done nothing.
pub(crate) fn has_run(report: &zctrace_report::Report) -> bool {
    !report.edges.is_empty()
}
