//! `cargo xtask vm`: runs the tests under stock Debian kernels, each in its own virtual machine.
//!
//! The machine is emulated (no `/dev/kvm`), has one disk and no network, and boots from an
//! initramfs that contains a static `zctrace`, busybox and the modules for the disk. Its init runs
//! the tests and powers off; their output comes over the serial line. A kernel that cannot be
//! obtained is a visible SKIP; one that does not answer has failed.

mod initramfs;
mod kernel;
mod machine;
mod serial;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, Outcome, repo};

/// Kernel lines that are tested by default: those of the distribution that CI runs on.
const LINES: [&str; 2] = ["6.1", "6.12"];

/// Commands that are run, by name. Each must exit with 0.
const TESTS: [(&str, &str); 4] = [
    ("selftest", "/zctrace selftest --dir /disk"),
    ("demo", "/zctrace demo --dir /disk --size 4MiB"),
    ("demo of an odd size", "/zctrace demo --dir /disk --size 70001"),
    ("oracle", "/zctrace demo --dir /disk --matrix"),
];

/// Programs that the host needs, and the Debian packages that contain them.
const TOOLS: [(&str, &str); 8] = [
    ("apt-get", "apt"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("dpkg", "dpkg"),
    ("mkfs.ext4", "e2fsprogs"),
    ("modprobe", "kmod"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("xz", "xz-utils"),
];

/// Runs the tests under the kernels of these lines.
pub(crate) fn run(root: &Path, lines: &[&str]) -> Outcome {
    let missing: Vec<_> = TOOLS.iter().filter(|(program, _)| !is_there(program)).collect();
    if !missing.is_empty() {
        let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        println!(
            "SKIP vm: install what is missing: apt-get install --no-install-recommends {}",
            packages.join(" ")
        );
        return Ok(());
    }
    let lines = if lines.is_empty() { &LINES[..] } else { lines };
    let folder = root.join("target/vm");
    let program = machine::static_program(root, &folder)?;
    let (mut passed, mut failed) = (0, 0);
    for line in lines {
        let kernel = match kernel::get(line, &folder) {
            Ok(kernel) => kernel,
            Err(why) => {
                println!("SKIP kernel {line}: {why}");
                continue;
            }
        };
        let output = machine::boot(&kernel, &program, &TESTS, &folder)?;
        let results = serial::read(&output, &TESTS);
        for (name, result) in &results {
            match result {
                Ok(()) => println!("PASS {}: {name}", kernel.version),
                Err(why) => println!("FAIL {}: {name}: {why}", kernel.version),
            }
        }
        let bad = results.iter().filter(|(_, result)| result.is_err()).count();
        if bad > 0 {
            println!("--- what the machine of {} said\n{output}\n---", kernel.version);
        }
        failed += bad;
        passed += results.len() - bad;
    }
    println!("vm: {passed} passed, {failed} failed");
    if failed == 0 { Ok(()) } else { Err(Failure::Found) }
}

/// Returns the version and the image of the newest kernel of a line, unpacked in `folder`, or why
/// there is none.
pub(crate) fn kernel_image(line: &str, folder: &Path) -> Result<(String, PathBuf), String> {
    kernel::get(line, folder).map(|kernel| (kernel.version, kernel.image))
}

/// Returns whether a program can be started.
fn is_there(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", program])
        .output();
    // System tools may be outside an ordinary user's PATH.
    found.is_ok_and(|output| output.status.success()) || Path::new("/usr/sbin").join(program).exists()
}

/// Runs a system program to its end and returns its output. Its standard error becomes the error.
fn output(command: &mut Command) -> Result<String, Failure> {
    command.env(
        "PATH",
        format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()),
    );
    repo::output(command)
}
