//! The programs themselves, as `cargo xtask codegen` has built them.

/// The eBPF object, aligned as its reader wants it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/zctrace.bpf.o"));

/// What it was made of and with: hashes of the sources and of the object, and the tools' versions.
pub static SOURCES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/zctrace.bpf.sources"));

/// The hash of the object, as the committed text has it; empty if it has none.
pub fn object_hash() -> &'static str {
    SOURCES
        .lines()
        .find_map(|line| line.strip_prefix("object "))
        .unwrap_or("")
        .trim()
}
