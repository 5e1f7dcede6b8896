//! Extract of the types that the tests read.
//!
//! The extract contains the queried types and everything they contain by value. A pointer to any
//! other struct keeps only the name of the struct, as a forward declaration: code that follows the
//! pointer queries the struct by name. Types keep their order, so that the first of two types of
//! one name stays the first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::blob::{self, ENUM, ENUM64, FUNC_PROTO, FWD, PTR, STRUCT, TYPEDEF, Type, TypeId, UNION};
use super::queries;

/// Returns a blob with the queried types.
pub(super) fn extract(types: &[Type]) -> Vec<u8> {
    let mut kept = Kept {
        types,
        ids: BTreeSet::new(),
    };
    for id in wanted(types) {
        kept.add(id);
        kept.add_arguments(id);
    }
    kept.write()
}

/// Returns the queried types.
fn wanted(types: &[Type]) -> Vec<TypeId> {
    let mut first = BTreeSet::new();
    let mut found = Vec::new();
    for (id, a_type) in (1..).zip(types) {
        let tracepoint = a_type.name.strip_prefix("btf_trace_");
        let named = match a_type.kind() {
            TYPEDEF if tracepoint.is_some() => tracepoint.is_some_and(|name| queries::TRACEPOINTS.contains(&name)),
            STRUCT | UNION | TYPEDEF => queries::TYPES.contains(&a_type.name.as_str()),
            ENUM | ENUM64 => {
                let has = |name: &String| queries::ENUMERATORS.contains(&name.as_str());
                a_type.names.iter().any(has)
            }
            _ => false,
        };
        // A kernel can have two structs of one name in different files; a query by name gets the
        // first.
        if named && (a_type.name.is_empty() || first.insert((a_type.name.clone(), a_type.kind() == TYPEDEF))) {
            found.push(id);
        }
    }
    found
}

struct Kept<'a> {
    types: &'a [Type],
    ids: BTreeSet<TypeId>,
}

impl Kept<'_> {
    fn get(&self, id: TypeId) -> Option<&Type> {
        self.types.get((id as usize).checked_sub(1)?)
    }

    /// Keeps a type with everything that it contains.
    fn add(&mut self, id: TypeId) {
        let mut left = vec![id];
        while let Some(id) = left.pop() {
            let Some(a_type) = self.get(id) else { continue };
            let (kind, references) = (a_type.kind(), a_type.references());
            if self.ids.insert(id) && kind != PTR {
                left.extend(references);
            }
        }
    }

    /// Keeps the arguments of a tracepoint; its typedef is a pointer to them.
    fn add_arguments(&mut self, id: TypeId) {
        let (pointer, kind) = self.behind(id);
        let target = self.get(pointer).map(|pointer| self.behind(pointer.word));
        if let (Some(PTR), Some((proto, Some(FUNC_PROTO)))) = (kind, target) {
            self.add(proto);
        }
    }

    /// Returns the type behind typedefs and qualifiers, and its kind.
    fn behind(&self, id: TypeId) -> (TypeId, Option<u32>) {
        let mut id = id;
        while let Some(a_type) = self.get(id) {
            match a_type.kind() {
                // Typedef, volatile, const, restrict and type tag.
                TYPEDEF | 9..=11 | 18 => id = a_type.word,
                kind => return (id, Some(kind)),
            }
        }
        (0, None)
    }

    fn write(&self) -> Vec<u8> {
        let mut new: HashMap<TypeId, TypeId> = self.ids.iter().copied().zip(1..).collect();
        let mut types: Vec<Type> = self.ids.iter().filter_map(|id| self.get(*id)).cloned().collect();
        // Types that are only pointed to: one forward declaration per name, after all other types.
        let mut forward: BTreeMap<(String, bool), TypeId> = BTreeMap::new();
        for target in types.clone().iter().filter(|of| of.kind() == PTR).map(|of| of.word) {
            if new.contains_key(&target) {
                continue;
            }
            let (end, kind) = self.behind(target);
            if let Some(known) = new.get(&end).copied() {
                new.insert(target, known);
                continue;
            }
            let name = self.get(end).map(|of| of.name.clone()).unwrap_or_default();
            if name.is_empty() || !matches!(kind, Some(STRUCT | UNION | FWD)) {
                continue;
            }
            let union = kind == Some(UNION) || self.get(end).is_some_and(|of| of.kind() == FWD && of.info >> 31 == 1);
            let next = types.len() as TypeId + 1;
            let id = *forward.entry((name.clone(), union)).or_insert(next);
            if id == next {
                types.push(Type {
                    name,
                    info: FWD << 24 | u32::from(union) << 31,
                    word: 0,
                    rest: Vec::new(),
                    names: Vec::new(),
                });
            }
            new.insert(target, id);
        }
        // Other targets of pointers become void, to which only pointers may refer; every other type
        // has been kept.
        blob::write(types, |id| new.get(&id).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::blob::ARRAY;
    use super::*;

    fn a_type(name: &str, info: u32, word: u32, rest: &[u32], names: &[&str]) -> Type {
        Type {
            name: name.to_owned(),
            info,
            word,
            rest: rest.to_vec(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_wanted_stays_and_what_it_points_to_is_cut() {
        let types = [
            a_type("unwanted", STRUCT << 24, 4, &[], &[]),
            a_type("int", 1 << 24, 4, &[32], &[]),
            a_type("", PTR << 24, 1, &[], &[]),
            a_type("", ARRAY << 24, 0, &[2, 2, 3], &[]),
            a_type("qstr", STRUCT << 24 | 2, 20, &[0, 3, 0, 0, 4, 64], &["name", "hash"]),
            a_type("", PTR << 24, 7, &[], &[]),
            a_type("", FUNC_PROTO << 24 | 1, 0, &[0, 2], &["x"]),
            a_type("btf_trace_sys_enter", TYPEDEF << 24, 6, &[], &[]),
        ];
        let written = blob::parse(&extract(&types)).expect("a blob");
        let names: Vec<(&str, u32)> = written.iter().map(|of| (of.name.as_str(), of.kind())).collect();
        assert_eq!(
            names,
            [
                ("int", 1),
                ("", PTR),
                ("", ARRAY),
                ("qstr", STRUCT),
                ("", PTR),
                ("", FUNC_PROTO),
                ("btf_trace_sys_enter", TYPEDEF),
                ("unwanted", FWD),
            ]
        );
        assert_eq!(written[1].word, 8, "the forward declaration");
        assert_eq!(written[2].rest, [1, 1, 3]);
        assert_eq!((written[3].rest[1], written[3].rest[4]), (2, 3));
        assert_eq!(written[3].names, ["name", "hash"]);
        assert_eq!((written[4].word, written[5].rest[1], written[6].word), (6, 1, 5));
    }
}
