//! Fields that the programs need, resolved in the types of real kernels: found in all of them, with
//! the exceptions listed here.

use std::path::PathBuf;

use zctrace_probes::layout::btf::Btf;
use zctrace_probes::layout::offsets::{KernelOffsets, ProbeGroup};

fn offsets(kernel: &str) -> KernelOffsets {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/btf"));
    let btf = Btf::from_file(folder.join(format!("{kernel}.btf"))).expect("the extract is committed");
    KernelOffsets::from_btf(&btf).expect("an extract can be read")
}

/// Types that the extracts were made without.
const NOT_EXTRACTED: [&str; 2] = ["`io_sr_msg`", "`io_uring_task`"];

/// Returns the missing fields in the words of the offsets' error.
fn missing(kernel: &str) -> Vec<String> {
    let missing = offsets(kernel).missing;
    let words = missing.iter().map(ToString::to_string);
    words
        .filter(|words| !NOT_EXTRACTED.iter().any(|name| words.contains(name)))
        .collect()
}

/// The context of a submitter is of no use without its task, so nothing is counted then.
#[test]
fn requests_without_a_submitter_are_refused() {
    for (kernel, is_refused) in [("6.1", false), ("6.12", false), ("6.18", true)] {
        let missing = offsets(kernel).missing_for(ProbeGroup::IoUring).is_some();
        assert_eq!(missing, is_refused, "{kernel}: the extract has no `io_uring_task`");
    }
}

#[test]
fn nothing_is_missing_since_6_1() {
    for kernel in ["6.1", "6.12", "6.18"] {
        assert!(missing(kernel).is_empty(), "{kernel}: {:#?}", missing(kernel));
    }
}

/// 5.10 has no folios; its bios name a disk instead of a block device, its fragment flags are
/// elsewhere, and its `io_uring` has no zero-copy send.
#[test]
fn members_missing_in_5_10_are_named_and_calls_are_supported() {
    assert_eq!(
        missing("5.10"),
        [
            "this kernel's `io_kiocb` has no `cmd`",
            "this kernel has no type `io_notif_data`",
            "this kernel's `skb_shared_info` has no `flags`",
            "this kernel's `bio` has no `bi_bdev`",
            "this kernel has no type `folio`",
        ]
    );
    assert!(offsets("5.10").missing_for(ProbeGroup::Calls).is_none());
}
