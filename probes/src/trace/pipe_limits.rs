//! System limits on pipes.

use zctrace_report::PipeLimits;

/// Reads the limits; `None` if any of them cannot be read, because an invented limit is worse than
/// none.
pub(super) fn read() -> Option<PipeLimits> {
    let number = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/{name}")).ok()?;
        text.trim().parse().ok()
    };
    Some(PipeLimits {
        max_size: number("pipe-max-size")?,
        user_pages_soft: number("pipe-user-pages-soft")?,
        user_pages_hard: number("pipe-user-pages-hard")?,
    })
}
