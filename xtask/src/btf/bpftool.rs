//! bpftool's description of a kernel's types: the reference that our own reader is compared with.
//!
//! The answers are computed from the text of `bpftool btf dump … format raw`, so that none of our
//! code reads BTF here.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::queries;
use crate::Failure;

/// A type: a line of the dump with the indented lines below it.
#[derive(Debug, Default)]
struct Described {
    kind: String,
    name: String,
    attributes: HashMap<String, String>,
    elements: Vec<Element>,
}

/// A member, parameter or enumerator.
#[derive(Debug)]
struct Element {
    name: String,
    attributes: HashMap<String, String>,
}

fn number<T: std::str::FromStr>(attributes: &HashMap<String, String>, key: &str) -> Option<T> {
    attributes.get(key)?.parse().ok()
}

/// All types of a dump.
#[derive(Debug, Default)]
pub(super) struct Dump {
    types: HashMap<u32, Described>,
    /// Type IDs in the order of the dump.
    order: Vec<u32>,
}

/// Runs bpftool on a BTF file.
pub(super) fn dump(file: &Path) -> Result<Dump, Failure> {
    let mut bpftool = Command::new("bpftool");
    let path = std::env::var("PATH").unwrap_or_default();
    bpftool.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    bpftool.args(["btf", "dump", "file"]).arg(file).args(["format", "raw"]);
    let output = bpftool
        .output()
        .map_err(|error| Failure::Broken(format!("bpftool: {error}: install it (apt-get install bpftool)")))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Broken(format!(
            "bpftool cannot read {}: {}",
            file.display(),
            complaint.trim()
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).ok_or_else(|| Failure::Broken("what bpftool prints is not understood here".to_owned()))
}

fn parse(text: &str) -> Option<Dump> {
    let mut dump = Dump::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(element) = line.strip_prefix('\t') {
            // Only sections of variables have elements without names, and no query asks for them.
            if let Some((name, rest)) = quoted(element) {
                let attributes = attributes(rest);
                let last = dump.types.get_mut(dump.order.last()?)?;
                last.elements.push(Element { name, attributes });
            }
            continue;
        }
        let (id, rest) = line.strip_prefix('[')?.split_once("] ")?;
        let (kind, rest) = rest.split_once(' ')?;
        let (name, rest) = quoted(rest)?;
        let id = id.parse().ok()?;
        let described = Described {
            kind: kind.to_owned(),
            name,
            attributes: attributes(rest),
            elements: Vec::new(),
        };
        dump.types.insert(id, described);
        dump.order.push(id);
    }
    Some(dump)
}

/// Returns a quoted name and the rest of the line. A type without a name is called `(anon)`.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (name, rest) = text.strip_prefix('\'')?.split_once('\'')?;
    let name = if name == "(anon)" { "" } else { name };
    Some((name.to_owned(), rest))
}

fn attributes(text: &str) -> HashMap<String, String> {
    let pairs = text.split_whitespace().filter_map(|word| word.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Returns a member's position in bits from the start, and its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    offset: u64,
    size: Size,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Size {
    Bytes(u64),
    Bits(u64),
}

impl Dump {
    /// Returns the answers to all queries, one line each: `-` if this kernel has no such item.
    pub(super) fn answers(&self) -> Result<String, String> {
        let mut text = String::new();
        for field in queries::FIELDS.iter().chain(&queries::MORE_FIELDS) {
            let _ = match self.field(field)? {
                None => writeln!(text, "{field} -"),
                Some(Place {
                    offset,
                    size: Size::Bytes(bytes),
                }) => writeln!(text, "{field} {offset} {bytes}"),
                Some(Place {
                    offset,
                    size: Size::Bits(bits),
                }) => writeln!(text, "{field} {offset} bits:{bits}"),
            };
        }
        let mut line = |what: &str, name: &str, value: Option<i64>| {
            let value = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            let _ = writeln!(text, "{what} {name} {value}");
        };
        for name in queries::SIZES {
            line(
                "size",
                name,
                self.first(name).and_then(|id| self.size(id)).map(u64::cast_signed),
            );
        }
        for name in queries::ENUMERATORS {
            line("enumerator", name, self.enumerator(name));
        }
        for name in queries::TRACEPOINTS {
            line("arguments", name, self.arguments(name));
        }
        Ok(text)
    }

    fn of(&self, kinds: &[&str], name: &str) -> Vec<u32> {
        let fits = |id: &&u32| {
            let described = &self.types[*id];
            kinds.contains(&described.kind.as_str()) && described.name == name
        };
        self.order.iter().filter(fits).copied().collect()
    }

    /// Returns the types of a name: structs and unions, or else typedefs.
    fn candidates(&self, name: &str) -> Vec<u32> {
        let tagged = self.of(&["STRUCT", "UNION"], name);
        if tagged.is_empty() {
            self.of(&["TYPEDEF"], name)
        } else {
            tagged
        }
    }

    fn first(&self, name: &str) -> Option<u32> {
        self.candidates(name).first().copied()
    }

    /// Returns the position of a member. If several types have the name, they must agree; otherwise
    /// the answer would be a guess.
    fn field(&self, path: &str) -> Result<Option<Place>, String> {
        let (of, members) = path.split_once('.').ok_or("a member without its type")?;
        let mut places = self.candidates(of).into_iter().map(|id| self.place(id, members));
        let Some(first) = places.next() else { return Ok(None) };
        if places.any(|place| place != first) {
            return Err(format!(
                "this kernel has several types `{of}`, which disagree about {members}"
            ));
        }
        Ok(first)
    }

    fn place(&self, id: u32, members: &str) -> Option<Place> {
        let (name, deeper) = match members.split_once('.') {
            Some((name, deeper)) => (name, Some(deeper)),
            None => (members, None),
        };
        let composite = &self.types[&self.resolve(id)?];
        if !["STRUCT", "UNION"].contains(&composite.kind.as_str()) {
            return None;
        }
        for element in &composite.elements {
            let offset: u64 = number(&element.attributes, "bits_offset")?;
            let type_id = number(&element.attributes, "type_id")?;
            let place = if element.name == name {
                match (deeper, number(&element.attributes, "bitfield_size")) {
                    (Some(deeper), _) => self.place(type_id, deeper),
                    (None, Some(bits)) => Some(Place {
                        offset: 0,
                        size: Size::Bits(bits),
                    }),
                    (None, None) => Some(Place {
                        offset: 0,
                        size: Size::Bytes(self.size(type_id)?),
                    }),
                }
            } else if element.name.is_empty() {
                self.place(type_id, members)
            } else {
                None
            };
            if let Some(place) = place {
                return Some(Place {
                    offset: place.offset + offset,
                    ..place
                });
            }
        }
        None
    }

    /// Returns a type without its typedefs and qualifiers.
    fn resolve(&self, id: u32) -> Option<u32> {
        let described = self.types.get(&id)?;
        match described.kind.as_str() {
            "TYPEDEF" | "CONST" | "VOLATILE" | "RESTRICT" | "TYPE_TAG" => {
                self.resolve(number(&described.attributes, "type_id")?)
            }
            _ => Some(id),
        }
    }

    fn size(&self, id: u32) -> Option<u64> {
        let described = &self.types[&self.resolve(id)?];
        match described.kind.as_str() {
            "PTR" => Some(8),
            "ARRAY" => {
                let element = self.size(number(&described.attributes, "type_id")?)?;
                Some(element * number::<u64>(&described.attributes, "nr_elems")?)
            }
            _ => number(&described.attributes, "size"),
        }
    }

    fn enumerator(&self, name: &str) -> Option<i64> {
        let enums = self
            .order
            .iter()
            .map(|id| &self.types[id])
            .filter(|of| of.kind.starts_with("ENUM"));
        let mut elements = enums.flat_map(|of| &of.elements);
        let element = elements.find(|element| element.name == name)?;
        number(&element.attributes, "val")
    }

    /// Returns the number of arguments of a tracepoint, without the tracer's own.
    fn arguments(&self, name: &str) -> Option<i64> {
        let typedef = *self.of(&["TYPEDEF"], &format!("btf_trace_{name}")).first()?;
        let pointer = &self.types[&self.resolve(typedef)?];
        let proto = self.resolve(number(&pointer.attributes, "type_id")?)?;
        Some(self.types[&proto].elements.len() as i64 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
[1] INT 'unsigned int' size=4 bits_offset=0 nr_bits=32 encoding=(none)
[2] PTR '(anon)' type_id=0
[3] ARRAY '(anon)' type_id=1 index_type_id=1 nr_elems=3
[4] UNION '(anon)' size=12 vlen=2
\t'three' type_id=3 bits_offset=0
\t'one' type_id=1 bits_offset=0
[5] STRUCT 'sk_buff' size=32 vlen=4
\t'next' type_id=2 bits_offset=0
\t'(anon)' type_id=4 bits_offset=64
\t'cloned' type_id=1 bits_offset=161 bitfield_size=1
\t'inner' type_id=6 bits_offset=192
[6] TYPEDEF 'inner_t' type_id=7
[7] STRUCT 'inner' size=8 vlen=1
\t'last' type_id=1 bits_offset=32
[8] ENUM '(anon)' encoding=SIGNED size=4 vlen=1
\t'ITER_BVEC' val=-2
[9] FUNC_PROTO '(anon)' ret_type_id=0 vlen=3
\t'(anon)' type_id=2
\t'(anon)' type_id=2
\t'(anon)' type_id=1
[10] PTR '(anon)' type_id=9
[11] TYPEDEF 'btf_trace_sys_exit' type_id=10
[12] DATASEC '.data' size=0 vlen=1
\ttype_id=1 offset=0 size=4 (VAR 'x')
";

    fn place(offset: u64, bytes: u64) -> Place {
        Place {
            offset,
            size: Size::Bytes(bytes),
        }
    }

    #[test]
    fn members_are_found_in_bpftools_text() {
        let dump = parse(TEXT).expect("understood");
        assert_eq!(dump.field("sk_buff.next"), Ok(Some(place(0, 8))));
        assert_eq!(dump.field("sk_buff.three"), Ok(Some(place(64, 12))));
        assert_eq!(dump.field("sk_buff.one"), Ok(Some(place(64, 4))));
        assert_eq!(dump.field("sk_buff.inner.last"), Ok(Some(place(224, 4))));
        let bit = Place {
            offset: 161,
            size: Size::Bits(1),
        };
        assert_eq!(dump.field("sk_buff.cloned"), Ok(Some(bit)));
        assert_eq!(dump.field("sk_buff.none"), Ok(None));
        assert_eq!(dump.field("inner_t.last"), Ok(Some(place(32, 4))));
        assert_eq!(dump.enumerator("ITER_BVEC"), Some(-2));
        assert_eq!(dump.arguments("sys_exit"), Some(2));
        assert_eq!(dump.arguments("sys_enter"), None);
    }

    #[test]
    fn two_types_of_one_name_must_agree() {
        let two = format!("{TEXT}[13] STRUCT 'inner' size=8 vlen=1\n\t'last' type_id=1 bits_offset=0\n");
        let dump = parse(&two).expect("understood");
        assert!(dump.field("inner.last").is_err());
    }
}
