//! The drain: where the unwanted front of a pipe goes without being copied.

use crate::endpoint::kind::is_dev_null;
use crate::sys;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

static DEV_NULL: OnceLock<OwnedFd> = OnceLock::new();

/// `/dev/null`, opened once and checked to be what its name says: whoever can plant a file there would be given our
/// bytes. `None` if it cannot be opened now (too many open files, a bare chroot): asked again the next time.
pub(super) fn dev_null() -> Option<BorrowedFd<'static>> {
    if let Some(fd) = DEV_NULL.get() {
        return Some(fd.as_fd());
    }
    let fd = sys::open("/dev/null").ok()?;
    if !is_dev_null(&sys::stat(fd.as_fd()).ok()?) {
        return None;
    }
    Some(DEV_NULL.get_or_init(|| fd).as_fd())
}
