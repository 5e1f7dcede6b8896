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

/// The eBPF object's name: its committed hash or, while it has none, one that is good enough to tell objects apart.
pub fn object_id() -> String {
    match object_hash() {
        "" => format!("{:016x}", fnv(OBJECT)),
        hash => hash.to_owned(),
    }
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_gives_the_published_value() {
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
