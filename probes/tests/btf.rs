//! The BTF reader: on synthetic types, on the running kernel's own, and on damaged input.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use zctrace_probes::layout::btf::{Bits, Btf, BtfError, Field};

/// Builder of a BTF blob.
#[derive(Default)]
struct Blob {
    types: Vec<u32>,
    strings: Vec<u8>,
    count: u32,
}

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const CONST: u32 = 10;
const FUNC_PROTO: u32 = 13;
const ENUM64: u32 = 19;
const FLAG: u32 = 1 << 31;

impl Blob {
    fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    /// Adds a type: its kind with flags and count, its size or type, and the words that follow.
    /// Returns its ID.
    fn add(&mut self, name: &str, info: u32, word: u32, rest: &[u32]) -> u32 {
        let name = self.name(name);
        self.types.extend([name, info, word]);
        self.types.extend(rest);
        self.count += 1;
        self.count
    }

    fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.add(name, INT << 24, bytes, &[bytes * 8])
    }

    /// Adds a struct or union with these members: name, type, stored offset.
    fn composite(&mut self, name: &str, info: u32, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let mut rest = Vec::new();
        for (name, type_id, offset) in members {
            rest.extend([self.name(name), *type_id, *offset]);
        }
        self.add(name, info | members.len() as u32, size, &rest)
    }

    fn bytes(&self) -> Vec<u8> {
        let types: Vec<u8> = self.types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = Vec::new();
        bytes.extend(0xeb9f_u16.to_ne_bytes());
        bytes.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, self.strings.len() as u32] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        bytes.extend(types);
        bytes.extend(&self.strings);
        bytes
    }

    fn btf(&self) -> Btf {
        Btf::parse(self.bytes()).expect("well formed")
    }
}

/// The kernel's structures in miniature: a union in an anonymous struct, typedefs, bitfields, an
/// array.
fn sample() -> Blob {
    let mut blob = Blob::new();
    let u32_ = blob.int("unsigned int", 4);
    let u64_ = blob.int("long unsigned int", 8);
    let pointer = blob.add("", PTR << 24, 0, &[]);
    let index = blob.add("pipe_index_t", TYPEDEF << 24, u32_, &[]);
    let inner = blob.composite("", STRUCT << 24, 8, &[("head", index, 0), ("tail", index, 32)]);
    let both = blob.composite("", UNION << 24, 8, &[("head_tail", u64_, 0), ("", inner, 0)]);
    blob.composite(
        "pipe",
        STRUCT << 24,
        24,
        &[("first", pointer, 0), ("", both, 64), ("last", u64_, 128)],
    );
    let constant = blob.add("", CONST << 24, u32_, &[]);
    blob.composite(
        "frag",
        STRUCT << 24,
        16,
        &[("page", pointer, 0), ("len", constant, 64), ("off", u32_, 96)],
    );
    let frag_t = blob.add("frag_t", TYPEDEF << 24, 9, &[]);
    let frags = blob.add("", ARRAY << 24, 0, &[frag_t, u32_, 17]);
    blob.composite("shared", STRUCT << 24, 280, &[("count", u32_, 0), ("frags", frags, 64)]);
    let width = |bits: u32, at: u32| bits << 24 | at;
    blob.composite(
        "flags",
        STRUCT << 24 | FLAG,
        4,
        &[("a", u32_, width(3, 0)), ("b", u32_, width(7, 5)), ("c", u32_, 16)],
    );
    let enumerators = [blob.name("ITER_UBUF"), 0, blob.name("ITER_BVEC"), 2];
    blob.add("iter_type", ENUM << 24 | 2, 4, &enumerators);
    let negative = [blob.name("MINUS"), (-5_i32).cast_unsigned()];
    blob.add("", ENUM << 24 | FLAG | 1, 4, &negative);
    let large = [blob.name("LARGE"), 1, 2];
    blob.add("", ENUM64 << 24 | 1, 8, &large);
    let proto = blob.add("", FUNC_PROTO << 24 | 3, 0, &[0, pointer, 0, u32_, 0, u32_]);
    let proto_pointer = blob.add("", PTR << 24, proto, &[]);
    blob.add("btf_trace_some_event", TYPEDEF << 24, proto_pointer, &[]);
    blob
}

fn plain(offset: u32, size: u32) -> Field {
    Field {
        offset,
        size,
        bits: None,
    }
}

#[test]
fn members_are_found_in_anonymous_types() {
    let btf = sample().btf();
    assert_eq!(btf.field("pipe", "first").expect("first"), plain(0, 8));
    assert_eq!(btf.field("pipe", "head_tail").expect("union"), plain(8, 8));
    assert_eq!(btf.field("pipe", "tail").expect("two levels down"), plain(12, 4));
    assert_eq!(btf.field("pipe", "last").expect("last"), plain(16, 8));
    assert_eq!(
        btf.field("frag_t", "len").expect("by typedef, through const"),
        plain(8, 4)
    );
    assert_eq!(btf.field("shared", "frags").expect("array"), plain(8, 272));
    assert_eq!(btf.field("shared", "frags.off").expect("first element"), plain(20, 4));
    assert_eq!(btf.size_of("shared").expect("size"), 280);
    assert!(btf.field("pipe", "middle").unwrap_err().is_missing());
    assert!(btf.field("tube", "head").unwrap_err().is_missing());
}

#[test]
fn bitfields_have_byte_shift_and_width() {
    let btf = sample().btf();
    let bits = |offset, size, shift, width| Field {
        offset,
        size,
        bits: Some(Bits { shift, width }),
    };
    assert_eq!(btf.field("flags", "a").expect("a"), bits(0, 1, 0, 3));
    assert_eq!(
        btf.field("flags", "b").expect("b"),
        bits(0, 2, 5, 7),
        "spread over two bytes"
    );
    assert_eq!(
        btf.field("flags", "c").expect("c"),
        plain(2, 4),
        "no bitfield, though its struct has some"
    );
}

#[test]
fn enumerators_and_tracepoints() {
    let btf = sample().btf();
    assert_eq!(btf.enumerator("ITER_BVEC").expect("plain"), 2);
    assert_eq!(btf.enumerator("MINUS").expect("signed"), -5);
    assert_eq!(btf.enumerator("LARGE").expect("64 bit"), (2 << 32) + 1);
    assert_eq!(btf.tracepoint_argument_count("some_event").expect("event"), 2);
    assert!(btf.tracepoint_argument_count("no_event").unwrap_err().is_missing());
    let names = [("pipe", "_head"), ("pipe", "head")];
    assert_eq!(btf.first_field_of(&names).expect("the second name"), plain(8, 4));
}

#[test]
fn cyclic_typedefs_and_arrays_are_errors() {
    let mut blob = Blob::new();
    blob.add("a", TYPEDEF << 24, 2, &[]);
    blob.add("b", TYPEDEF << 24, 1, &[]);
    blob.add("rows", ARRAY << 24, 0, &[3, 3, 2]);
    blob.add("row", TYPEDEF << 24, 3, &[]);
    let circle = blob.composite("self", STRUCT << 24, 4, &[("", 5, 0)]);
    assert_eq!(circle, 5);
    let btf = blob.btf();
    assert!(matches!(btf.size_of("a"), Err(BtfError::Malformed(_))));
    assert!(matches!(btf.size_of("row"), Err(BtfError::Malformed(_))));
    assert!(btf.field("self", "x").unwrap_err().is_missing());
}

#[test]
fn input_other_than_btf_is_rejected() {
    let not = |bytes: &[u8]| matches!(Btf::parse(bytes.to_vec()), Err(BtfError::NotBtf(_)));
    assert!(not(b""));
    assert!(not(b"\x7fELF and so on"));
    assert!(not(&0xeb9f_u16.swap_bytes().to_ne_bytes()));
    let mut other = sample().bytes();
    other[2] = 2;
    assert!(not(&other));
    let error = Btf::from_file("/no/such/file").unwrap_err().to_string();
    assert!(
        error.contains("CONFIG_DEBUG_INFO_BTF") && error.contains("--btf"),
        "{error}"
    );
}

/// Facts about every x86-64 kernel since 5.10, and relations between them.
#[test]
fn the_running_kernel_is_read() {
    let btf = match Btf::from_running_kernel() {
        Ok(btf) => btf,
        Err(error) => {
            test_support::skip!("the_running_kernel_is_read", "{error}");
            return;
        }
    };
    assert!(btf.len() > 10_000);
    assert_eq!(btf.size_of("pipe_buffer").expect("pipe_buffer"), 40);
    assert_eq!(btf.field("pipe_buffer", "len").expect("len"), plain(12, 4));
    let (head, tail) = (
        btf.field("pipe_inode_info", "head"),
        btf.field("pipe_inode_info", "tail"),
    );
    let (head, tail) = (head.expect("head"), tail.expect("tail"));
    assert_eq!((head.size, tail.size, tail.offset), (4, 4, head.offset + 4));
    let iter = btf.field("bio", "bi_iter").expect("bi_iter");
    let size = btf.field("bio", "bi_iter.bi_size").expect("bi_size");
    assert_eq!(
        size.offset,
        iter.offset + btf.field("bvec_iter", "bi_size").expect("bi_size").offset
    );
    assert!(
        btf.tracepoint_argument_count("net_dev_start_xmit")
            .expect("a tracepoint")
            == 2
    );
    assert!(btf.has_function("tcp_sendmsg") && !btf.has_function("no_such_function"));
    assert!(btf.field("sk_buff", "cloned").expect("a bitfield").bits.is_some());
}

/// Runs every query on a blob and ignores the answers: it must not panic.
fn ask_everything(bytes: Vec<u8>) {
    let Ok(btf) = Btf::parse(bytes) else { return };
    for of in ["pipe", "frag_t", "shared", "flags", "iter_type", "unsigned int", ""] {
        let _ = btf.size_of(of);
        for path in ["tail", "frags.off", "b", "", "head_tail.x"] {
            let _ = btf.field(of, path);
        }
    }
    let _ = (
        btf.enumerator("LARGE"),
        btf.tracepoint_argument_count("some_event"),
        btf.has_function("x"),
    );
}

/// Fixed seed: every run has the same input, so that a failure is reproducible.
const SEED: u64 = 0x5eed;

fn fixed() -> ProptestConfig {
    ProptestConfig {
        cases: 8000,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(fixed())]

    #[test]
    fn damaged_input_never_panics(damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut bytes = sample().bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        ask_everything(bytes);
    }

    #[test]
    fn cut_input_never_panics(at in any::<prop::sample::Index>(), noise in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut bytes = sample().bytes();
        bytes.truncate(at.index(bytes.len()));
        bytes.extend(noise);
        ask_everything(bytes);
    }
}
