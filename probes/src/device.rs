//! Device numbers of filesystems, in the form that the kernel's structures have them.

use std::os::fd::AsFd;

use rustix::fs::{MemfdFlags, fstat, memfd_create};
use rustix::io::Result;
use rustix::pipe::{PipeFlags, pipe_with};

/// Combines both parts of a device number (`MKDEV`, `include/linux/kdev_t.h`).
pub(crate) fn kernel_device(major: u32, minor: u32) -> u32 {
    (major << 20) | minor
}

/// Returns the device of memfds: a tmpfs that the kernel mounts internally and lists nowhere.
pub(crate) fn memfds() -> Result<u32> {
    device_of(memfd_create("zctrace-device", MemfdFlags::CLOEXEC)?)
}

/// Returns the device of anonymous pipes. FIFOs are on the filesystem of their name.
pub(crate) fn anonymous_pipes() -> Result<u32> {
    device_of(pipe_with(PipeFlags::CLOEXEC)?.0)
}

fn device_of(file: impl AsFd) -> Result<u32> {
    let device = fstat(file)?.st_dev;
    Ok(kernel_device(rustix::fs::major(device), rustix::fs::minor(device)))
}
