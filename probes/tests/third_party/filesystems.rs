//! cp on filesystems that share extents, have no disk, or pass their files on to another one.

use std::path::{Path, PathBuf};

use zctrace_contract::Reason;
use zctrace_report::{Account, EndpointKind, Excluded, Report};

use crate::harness::Trace;
use crate::mounted::Mounted;
use crate::totals::{MEMORY, any, assert_both, bytes_with_reasons, copied, edges, file, flows, overview};

/// Not a whole number of pages or blocks.
const LEN: u64 = (2 << 20) + 1234;

type Prepare = fn(&Path) -> Result<Mounted, String>;

fn xfs(dir: &Path) -> Result<Mounted, String> {
    image(dir, &["mkfs.xfs", "-q", "-m", "reflink=1"])
}

fn btrfs(dir: &Path) -> Result<Mounted, String> {
    image(dir, &["mkfs.btrfs", "-q"])
}

fn image(dir: &Path, make: &[&str]) -> Result<Mounted, String> {
    let mut mounted = Mounted::default();
    // The smallest size that mkfs.xfs accepts is 300 MiB. The image is sparse.
    mounted.add_image(make, 320 << 20, &dir.join("mnt"))?;
    Ok(mounted)
}

fn tmpfs(dir: &Path) -> Result<Mounted, String> {
    let mut mounted = Mounted::default();
    mounted.add(&["-t", "tmpfs", "tmpfs"], &dir.join("mnt"))?;
    Ok(mounted)
}

fn overlay(dir: &Path) -> Result<Mounted, String> {
    let mut mounted = Mounted::default();
    mounted.add_overlay(&dir.join("layers"), &dir.join("mnt"))?;
    Ok(mounted)
}

fn overlay_over_tmpfs(dir: &Path) -> Result<Mounted, String> {
    let mut mounted = Mounted::default();
    mounted.add(&["-t", "tmpfs", "tmpfs"], &dir.join("layers"))?;
    mounted.add_overlay(&dir.join("layers"), &dir.join("mnt"))?;
    Ok(mounted)
}

/// Copies mnt/a.bin to mnt/b.bin by cp, traced, and returns the report with both paths.
fn copy(test: &str, programs: &[&str], prepare: Prepare, options: &str) -> Option<(Report, PathBuf, PathBuf)> {
    let mut trace = Trace::start_in(test, programs, prepare)?;
    let source = trace.file("mnt/a.bin", LEN as usize);
    trace.run(&format!("exec cp {options} mnt/a.bin mnt/b.bin"));
    let sink = trace.path("mnt/b.bin");
    assert!(std::fs::read(&source).expect("read") == std::fs::read(&sink).expect("read"));
    Some((trace.finish(), source, sink))
}

fn assert_cloned(test: &str, programs: &[&str], prepare: Prepare) {
    let Some((report, source, sink)) = copy(test, programs, prepare, "--reflink=always") else {
        return;
    };
    let cloned = Account {
        excluded: Excluded {
            cloned: LEN,
            ..Excluded::default()
        },
        ..Account::default()
    };
    // FICLONE names no source: a descriptor in its argument does.
    assert_both(&report, any(&EndpointKind::Various), file(&sink), &cloned);
    for end in [file(&source), MEMORY] {
        assert_eq!(flows(&report, end, file(&sink)).total(), 0, "{}", overview(&report));
    }
    assert_eq!(
        flows(&report, file(&source), MEMORY).total(),
        0,
        "{}",
        overview(&report)
    );
}

fn assert_copied(test: &str, programs: &[&str], prepare: Prepare, options: &str) {
    let Some((report, source, sink)) = copy(test, programs, prepare, options) else {
        return;
    };
    // Both names are below the mount point, not in a layer.
    let inside = edges(&report, file(&source), file(&sink)).total();
    assert_both(&report, file(&source), file(&sink), &copied(inside));
    let witnessed = bytes_with_reasons(&report, file(&source), file(&sink), &[Reason::PageCacheSink]);
    assert_eq!(witnessed, inside, "{}", overview(&report));
    assert_both(&report, file(&source), MEMORY, &copied(LEN - inside));
    assert_both(&report, MEMORY, file(&sink), &copied(LEN - inside));
}

#[test]
fn cp_clones_on_xfs() {
    assert_cloned("cp_clones_on_xfs", &["cp", "mkfs.xfs"], xfs);
}

#[test]
fn cp_clones_on_btrfs() {
    assert_cloned("cp_clones_on_btrfs", &["cp", "mkfs.btrfs"], btrfs);
}

#[test]
fn cp_without_reflinks_copies_on_xfs() {
    let programs = ["cp", "mkfs.xfs"];
    assert_copied("cp_without_reflinks_copies_on_xfs", &programs, xfs, "--reflink=never");
}

#[test]
fn cp_without_reflinks_copies_on_btrfs() {
    let programs = ["cp", "mkfs.btrfs"];
    assert_copied(
        "cp_without_reflinks_copies_on_btrfs",
        &programs,
        btrfs,
        "--reflink=never",
    );
}

#[test]
fn cp_copies_on_tmpfs() {
    // The kernel copies in copy_file_range(2), and tmpfs reports no dirty pages.
    assert_copied("cp_copies_on_tmpfs", &["cp"], tmpfs, "");
}

#[test]
fn cp_copies_within_an_overlay() {
    assert_copied("cp_copies_within_an_overlay", &["cp"], overlay, "");
}

#[test]
fn cp_copies_within_an_overlay_over_tmpfs() {
    const TEST: &str = "cp_copies_within_an_overlay_over_tmpfs";
    assert_copied(TEST, &["cp"], overlay_over_tmpfs, "");
}
