//! `/dev/null`, where bytes before a wanted range are discarded without a copy.

use crate::endpoint::kind::is_dev_null;
use crate::sys;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

static DEV_NULL: OnceLock<OwnedFd> = OnceLock::new();

/// Returns `/dev/null`, opened once and verified to be that device. An attacker who can replace
/// `/dev/null` would otherwise receive the discarded bytes.
///
/// Returns `None` if the device cannot be opened now (too many open files, a bare chroot); the next
/// call tries again.
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
