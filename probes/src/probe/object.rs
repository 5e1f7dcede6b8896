//! The eBPF object, as `cargo xtask codegen` built it.

/// The eBPF object, aligned as the ELF reader requires.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/zctrace.bpf.o"));

/// Inputs of the build: hashes of the sources and of the object, and versions of the tools.
pub static SOURCES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/zctrace.bpf.sources"));

/// Returns the committed hash of the object; empty if there is none.
pub fn object_hash() -> &'static str {
    SOURCES
        .lines()
        .find_map(|line| line.strip_prefix("object "))
        .unwrap_or("")
        .trim()
}

/// Returns an identifier of the object: its committed hash, or else a hash that is good enough to
/// tell objects apart.
pub fn object_id() -> String {
    match object_hash() {
        "" => format!("{:016x}", fnv(OBJECT)),
        hash => hash.to_owned(),
    }
}

/// Computes the 64-bit FNV-1a hash.
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
