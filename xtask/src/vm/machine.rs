//! The machine: its initramfs, its disk, and the emulator that runs it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::initramfs::Archive;
use super::kernel::Kernel;
use super::{output, serial};
use crate::{Failure, repo};

/// A machine that has not powered off by then never will: a run takes ten seconds.
const PATIENCE: &str = "180";

/// Size of the disk: enough for the demo's files.
const DISK: u64 = 128 << 20;

/// Builds a static `zctrace`.
pub(super) fn static_program(root: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let build = folder.join("build");
    // With the target named, the flag applies to the program alone and not to build scripts.
    let environment = [("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")];
    let directory = build.to_string_lossy();
    let arguments = [
        "build",
        "--release",
        "--package",
        "zctrace",
        "--target",
        TARGET,
        "--target-dir",
        &directory,
    ];
    repo::cargo(root, &environment, &arguments)?;
    Ok(build.join(TARGET).join("release/zctrace"))
}

/// Boots the kernel, runs the tests, and returns the output of the serial line.
pub(super) fn boot(kernel: &Kernel, program: &Path, tests: &[(&str, &str)], folder: &Path) -> Result<String, Failure> {
    let (initramfs, disk) = (folder.join("initramfs"), folder.join("disk"));
    fs::write(&initramfs, first_files(kernel, program, tests)?)?;
    File::create(&disk)?.set_len(DISK)?;
    output(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk))?;
    let mut emulator = Command::new("timeout");
    emulator.args(["--kill-after=10", PATIENCE, "qemu-system-x86_64"]);
    emulator.args(["-accel", "tcg", "-cpu", "max", "-m", "1024", "-smp", "2"]);
    emulator.args(["-nographic", "-no-reboot", "-nic", "none"]);
    emulator.args(["-append", "console=ttyS0 panic=-1 quiet"]);
    emulator
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&initramfs);
    emulator
        .arg("-drive")
        .arg(format!("file={},if=virtio,format=raw,cache=unsafe", disk.display()));
    let said = emulator.stdin(std::process::Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&said.stdout).replace('\r', ""))
}

fn first_files(kernel: &Kernel, program: &Path, tests: &[(&str, &str)]) -> Result<Vec<u8>, Failure> {
    let busybox = output(Command::new("sh").args(["-c", "command -v busybox"]))?;
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "disk", "m", "proc", "sys", "tmp"] {
        archive.folder(folder);
    }
    archive.file("bin/busybox", &fs::read(busybox.trim())?);
    archive.file("zctrace", &fs::read(program)?);
    for (name, content) in &kernel.modules {
        archive.file(&format!("m/{name}"), content);
    }
    archive.file("init", init(kernel, tests).as_bytes());
    Ok(archive.finish())
}

/// The init program: sets up the machine, runs the tests, prints the result of each, and powers
/// off.
fn init(kernel: &Kernel, tests: &[(&str, &str)]) -> String {
    let mark = serial::MARK;
    let start = "#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b mount -t tmpfs tmp /tmp
$b ifconfig lo 127.0.0.1 up";
    let modules = kernel.modules.iter().map(|(name, _)| format!("$b insmod /m/{name}"));
    // Not to the serial line itself, which is a terminal: no progress line, no colors.
    let tests = tests.iter().map(|(name, command)| {
        format!("{command} >/tmp/said 2>&1 </dev/null; code=$?; $b cat /tmp/said; echo \"{mark} exit $code {name}\"")
    });
    let mut lines = vec![start.to_owned()];
    lines.extend(modules);
    lines.push("$b mount -t ext4 /dev/vda /disk".to_owned());
    lines.extend(tests);
    lines.push(format!("$b umount /disk\necho \"{mark} done\"\n$b poweroff -f\n"));
    lines.join("\n")
}
