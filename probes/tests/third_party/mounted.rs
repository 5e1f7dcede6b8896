//! Filesystems that a test mounts. No other process sees them, and they are gone when it ends.

use std::cell::Cell;
use std::fs::{File, create_dir_all};
use std::path::{Path, PathBuf};
use std::process::Command;

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Mount points, unmounted when dropped. A killed test leaves nothing either, because they are in a
/// mount namespace of its thread. A loop device is released together with its mount.
#[derive(Default)]
pub(crate) struct Mounted {
    points: Vec<PathBuf>,
}

impl Mounted {
    /// Mounts a filesystem on a directory that it creates. `arguments` are those of mount(8) before
    /// the directory.
    pub(crate) fn add(&mut self, arguments: &[&str], point: &Path) -> Result<(), String> {
        own_mounts()?;
        create_dir_all(point).expect("a directory");
        let point_text = point.to_str().expect("a path");
        output("mount", &[arguments, &[point_text]].concat())?;
        self.points.push(point.to_owned());
        Ok(())
    }

    /// Makes a filesystem in an image file and mounts it by a loop device.
    pub(crate) fn add_image(&mut self, make: &[&str], size: u64, point: &Path) -> Result<(), String> {
        let image = point.with_extension("image");
        let file = File::create(&image).expect("an image");
        file.set_len(size).expect("an image");
        let image = image.to_str().expect("a path");
        output(make[0], &[&make[1..], &[image]].concat())?;
        self.add(&["-o", "loop", image], point)
    }

    /// Mounts an overlay. Its lower, upper and work directories are created in `layers`.
    pub(crate) fn add_overlay(&mut self, layers: &Path, point: &Path) -> Result<(), String> {
        let layer = |name: &str| {
            let path = layers.join(name);
            create_dir_all(&path).expect("a directory");
            path.to_str().expect("a path").to_owned()
        };
        let (lower, upper, work) = (layer("lower"), layer("upper"), layer("work"));
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        self.add(&["-t", "overlay", "-o", &options, "overlay"], point)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for point in self.points.drain(..).rev() {
            // A program that still runs keeps the filesystem until it is killed.
            // Programs may have mounted others above it.
            let _ = output("umount", &["--recursive", "--lazy", point.to_str().expect("a path")]);
        }
    }
}

/// Moves this thread, and all that it starts from now on, into a mount namespace of its own.
fn own_mounts() -> Result<(), String> {
    if OWN.get() {
        return Ok(());
    }
    // SAFETY: unshare takes no pointers. Only this thread's view of mounts and its own copy of the
    // root and current directories change.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(format!("unshare: {}", std::io::Error::last_os_error()));
    }
    OWN.set(true);
    output("mount", &["--make-rprivate", "/"])
}

/// Runs a program to its end.
fn output(program: &str, arguments: &[&str]) -> Result<(), String> {
    let path = std::env::join_paths(crate::harness::PATH).expect("a search path");
    let run = Command::new(program).args(arguments).env("PATH", path).output();
    let output = run.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)))
}
