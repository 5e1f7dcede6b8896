//! Filesystems that a test mounts where only its own process sees them, and other set-up by
//! programs of the system.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use test_support::skip;

use crate::child::rerun_command;
use crate::fixtures::{file_with, pattern};

/// Set in a process that has mounts of its own.
const OWN_MOUNTS: &str = "ZCTRACE_TEST_OWN_MOUNTS";

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

/// A filesystem in a file, mounted on a directory that only this thread sees.
pub(crate) fn mounted(dir: &Path, make: &[&str], size: u64, options: &str) -> Result<PathBuf, String> {
    own_mounts()?;
    mount_image(dir, make, size, options)
}

/// A filesystem in a file, mounted on a directory for this whole process.
pub(crate) fn mount_image(dir: &Path, make: &[&str], size: u64, options: &str) -> Result<PathBuf, String> {
    let (image, folder) = (dir.join("image"), dir.join("mount"));
    std::fs::File::create(&image)
        .and_then(|file| file.set_len(size))
        .expect("an image");
    std::fs::create_dir(&folder).expect("a folder");
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

/// An overlay that only this thread sees, whose upper layer is a directory of the same filesystem.
pub(crate) fn overlay(dir: &Path) -> Result<PathBuf, String> {
    own_mounts()?;
    mount_overlay(dir)
}

/// An overlay for this whole process. Its file `a` has 1 MiB of [`pattern`].
pub(crate) fn mount_overlay(dir: &Path) -> Result<PathBuf, String> {
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(dir.join(name)).expect("a folder");
    }
    drop(file_with(&dir.join("lower/a"), &pattern(1 << 20)));
    let path = |name: &str| dir.join(name).to_str().expect("a path").to_owned();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        path("lower"),
        path("upper"),
        path("work")
    );
    command("mount", &["-t", "overlay", "-o", &options, "overlay", &path("merged")])?;
    Ok(dir.join("merged"))
}

/// Runs the test `test` again in a process whose mounts are its own from the start. So the tracer,
/// which reads the mounts of its process, knows the filesystems that the test mounts.
///
/// Returns whether this is that process.
pub(crate) fn has_own_mounts(test: &str) -> bool {
    if std::env::var_os(OWN_MOUNTS).is_some() {
        return true;
    }
    let again = rerun_command(test, 0);
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(again.get_program())
        .args(again.get_args())
        .env(OWN_MOUNTS, "1")
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            skip!(test, "unshare: {error}");
            return false;
        }
    };
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    let ran = String::from_utf8_lossy(&output.stdout).contains("running 1 test");
    if !ran && printed.starts_with("unshare: ") {
        skip!(test, "{}", printed.trim_end());
        return false;
    }
    assert!(output.status.success(), "{}\n{printed}", output.status);
    assert!(ran, "there is no such test: {test}");
    let skipped = printed.split_inclusive('\n').filter(|line| line.starts_with("SKIP "));
    test_support::print_uncaptured(&skipped.collect::<String>());
    false
}
