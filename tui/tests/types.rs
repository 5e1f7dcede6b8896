//! Tests of `--btf FILE`, on kernels that provide BTF and on those that do not.

mod common;

use std::path::PathBuf;
use std::process::{Command, Output};

use common::{both, possible};

const OWN: &str = "/sys/kernel/btf/vmlinux";

fn zctrace(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zctrace"));
    command
        .args(arguments)
        .env_remove("SUDO_UID")
        .output()
        .expect("zctrace can be run")
}

/// Runs `zctrace` in a mount namespace in which `/dev/null` replaces the kernel's BTF file.
fn without_types(arguments: &[&str]) -> Output {
    let hide = format!("mount --bind /dev/null {OWN} && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &hide, "sh", env!("CARGO_BIN_EXE_zctrace")]);
    command
        .args(arguments)
        .env_remove("SUDO_UID")
        .output()
        .expect("unshare(1) can be run")
}

/// Returns whether this kernel provides BTF, and probes can be loaded.
fn has_types(test: &str) -> bool {
    if !PathBuf::from(OWN).exists() {
        test_support::skip!(test, "this kernel tells no types");
        return false;
    }
    possible(test)
}

/// Returns the types of a kernel that differs from the running one.
fn of_another_kernel() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../probes/tests/btf");
    ["5.10", "6.1", "6.12"]
        .iter()
        .map(|version| folder.join(format!("{version}.btf")).display().to_string())
        .collect()
}

#[test]
fn btf_of_another_kernel_is_rejected() {
    const TEST: &str = "btf_of_another_kernel_is_rejected";
    if !has_types(TEST) {
        return;
    }
    // At most one of these is the running kernel.
    let refused: Vec<String> = of_another_kernel()
        .iter()
        .map(|file| zctrace(&["run", "--btf", file, "--", "true"]))
        .filter(|output| output.status.code() == Some(4))
        .map(|output| both(&output))
        .collect();
    assert!(refused.len() >= 2, "{refused:?}");
    for printed in refused {
        assert!(printed.contains("are not those of this kernel: "), "{printed}");
        assert!(printed.contains("→ leave --btf out"), "{printed}");
    }
}

#[test]
fn rejects_files_that_are_not_btf() {
    const TEST: &str = "rejects_files_that_are_not_btf";
    if !has_types(TEST) {
        return;
    }
    for (file, why) in [("/dev/null", "not BTF"), ("/no/such/file", "/no/such/file")] {
        for command in [
            &["run", "--btf", file, "--", "echo", "started"][..],
            &[
                "assert",
                "--btf",
                file,
                "--to",
                "file",
                "--max-copied",
                "0",
                "--",
                "echo",
                "started",
            ],
            &["selftest", "--btf", file],
            &["demo", "--btf", file],
        ] {
            let output = zctrace(command);
            let printed = both(&output);
            assert_eq!(output.status.code(), Some(4), "{printed}");
            assert!(
                printed.contains(why) && printed.contains('→') && !printed.contains("started"),
                "{printed}"
            );
        }
    }
}

#[test]
fn kernel_without_btf_accepts_only_its_own_types() {
    const TEST: &str = "kernel_without_btf_accepts_only_its_own_types";
    if !has_types(TEST) {
        return;
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let own = dir.path().join("own.btf").display().to_string();
    std::fs::copy(OWN, &own).expect("a copy of the types");
    let output = without_types(&["run", "--", "echo", "started"]);
    let printed = both(&output);
    assert_eq!(output.status.code(), Some(4), "{printed}");
    assert!(
        printed.contains("--btf FILE") && !printed.contains("started"),
        "{printed}"
    );

    let copied = [
        "assert",
        "--btf",
        &own,
        "--to",
        "pipe,file",
        "--max-copied",
        "100%",
        "--",
    ];
    let output = without_types(&[&copied[..], &["cp", "--reflink=never", &own, &format!("{own}.2")]].concat());
    let printed = both(&output);
    // The filesystem decides whether the copies of `cp` are observable. The test checks that they
    // were judged.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{printed}");
    assert!(!printed.contains("could not be set up"), "{printed}");
    let output = without_types(&["selftest", "--btf", &own]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));

    let refused = of_another_kernel().into_iter().filter(|file| {
        let output = without_types(&["run", "--btf", file, "--", "echo", "started"]);
        let printed = both(&output);
        // With wrong offsets, no trial is classified correctly.
        output.status.code() == Some(4) && printed.contains('→') && !printed.contains("started")
    });
    assert!(refused.count() >= 2);
}
