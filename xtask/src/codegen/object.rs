//! Contents of the object: program sizes, forbidden contents, and differences between two objects.

use std::fmt::Write as _;

use super::{cargo_home, visible_path};
use crate::elf::Elf;
use std::path::Path;

/// Bytes of an eBPF instruction.
const INSTRUCTION: u64 = 8;

/// Returns one line per program with its instructions, and one per section with its bytes.
pub(super) fn summary(object: &[u8]) -> Result<String, String> {
    let elf = Elf::parse(object)?;
    let mut text = String::new();
    let mut total = 0;
    for (index, section) in elf
        .sections
        .iter()
        .enumerate()
        .filter(|(_, section)| section.executable)
    {
        for function in elf.functions.iter().filter(|function| function.section == index) {
            let count = function.size / INSTRUCTION;
            total += count;
            if function.visible {
                let _ = writeln!(text, "  {count:>6} instructions  {}  ({})", function.name, section.name);
            }
        }
    }
    let _ = writeln!(text, "  {total:>6} instructions in all, with what the programs share");
    for section in &elf.sections {
        let data = !section.executable && !section.name.starts_with(".rel") && !section.content.is_empty();
        if data && ![".strtab", ".symtab"].contains(&section.name) {
            let _ = writeln!(text, "  {:>6} bytes         {}", section.content.len(), section.name);
        }
    }
    Ok(text)
}

/// Returns the first path of this machine, or of any source file, that is contained in the object.
pub(super) fn leak(object: &[u8], root: &Path) -> Option<String> {
    let mut marks = vec![visible_path(root), "/rustc/".to_owned(), "/src/".to_owned()];
    marks.extend(cargo_home().as_deref().map(visible_path));
    marks.into_iter().find(|mark| holds(object, mark.as_bytes()))
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Describes the difference between two objects.
pub(super) fn difference(committed: &[u8], built: &[u8]) -> String {
    let (Ok(committed), Ok(built)) = (Elf::parse(committed), Elf::parse(built)) else {
        return "one of the two is no ELF file".to_owned();
    };
    let mut words = Vec::new();
    for section in &committed.sections {
        match built.section(section.name) {
            None => words.push(format!("{} is not in what was built", section.name)),
            Some(content) if content == section.content => {}
            Some(content) => words.push(differing(section.name, section.content, content)),
        }
    }
    for section in &built.sections {
        if committed.section(section.name).is_none() {
            words.push(format!("{} is only in what was built", section.name));
        }
    }
    if words.is_empty() {
        return "all sections are equal, their order is not".to_owned();
    }
    words.join("; ")
}

fn differing(name: &str, committed: &[u8], built: &[u8]) -> String {
    let equal = committed
        .iter()
        .zip(built)
        .take_while(|(one, other)| one == other)
        .count();
    format!(
        "{name} differs from byte {equal} on ({} bytes, built: {})",
        committed.len(),
        built.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leak_are_found() {
        let root = Path::new("/some/checkout");
        assert_eq!(leak(b"license\0Dual MIT/GPL\0", root), None);
        let leaked = leak(b"\0/some/checkout/x.rs\0", root);
        assert_eq!(leaked.as_deref(), Some("/some/checkout"));
        assert!(leak(b"at /zctrace/probes-ebpf/src/main.rs", root).is_some());
    }

    #[test]
    fn a_difference_is_told_by_its_first_byte() {
        assert_eq!(
            differing(".text", b"abc", b"abd!"),
            ".text differs from byte 2 on (3 bytes, built: 4)"
        );
        assert!(difference(b"", b"").contains("no ELF"));
    }
}
