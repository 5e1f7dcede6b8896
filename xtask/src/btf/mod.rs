//! `cargo xtask btf`: data of real kernels for the tests of the BTF reader.
//!
//! Two files per kernel: an extract of its types, small enough to commit, and bpftool's answers to
//! the tests' queries, computed from all types of the kernel.

mod blob;
mod bpftool;
mod extract;
mod queries;
mod source;

use std::fs;
use std::path::Path;

use crate::{Failure, Outcome};

/// Directory of the committed files.
const FOLDER: &str = "probes/tests/btf";

/// Writes the extract and the answers of each of these kernels.
pub(crate) fn run(root: &Path, kernels: &[&str]) -> Outcome {
    if kernels.is_empty() {
        return Err(Failure::Broken(
            "btf: name kernels: `running`, a line of Debian's such as 6.12, or a file (vmlinuz, vmlinux or BTF)"
                .to_owned(),
        ));
    }
    // Shared with `cargo xtask vm`: the same kernels.
    let work = root.join("target/vm");
    fs::create_dir_all(&work)?;
    fs::create_dir_all(root.join(FOLDER))?;
    for kernel in kernels {
        let found = source::get(kernel, &work)?;
        one(root, &work, &found).map_err(|failure| match failure {
            Failure::Broken(why) => Failure::Broken(format!("{}: {why}", found.version)),
            Failure::Found => Failure::Found,
        })?;
    }
    Ok(())
}

fn one(root: &Path, work: &Path, kernel: &source::Source) -> Outcome {
    let (whole, part) = (work.join("whole.btf"), work.join("extract.btf"));
    fs::write(&whole, &kernel.btf)?;
    let answers = bpftool::dump(&whole)?.answers().map_err(Failure::Broken)?;
    let types = blob::parse(&kernel.btf).map_err(Failure::Broken)?;
    let extract = extract::extract(&types);
    fs::write(&part, &extract)?;
    // bpftool must give the same answers for the extract.
    let of_extract = bpftool::dump(&part)?.answers().map_err(Failure::Broken)?;
    if let Some((whole, part)) = answers
        .lines()
        .zip(of_extract.lines())
        .find(|(whole, part)| whole != part)
    {
        return Err(Failure::Broken(format!(
            "the extract is not true: bpftool says `{whole}` of the whole, and `{part}` of it"
        )));
    }
    let head = format!(
        "# bpftool's answers about Linux {}; written by `cargo xtask btf`, read by btf_kernels.rs. `-`: it has no such thing.\n\
         # MEMBER bits-from-start bytes (or bits:N); size TYPE bytes; enumerator NAME value; arguments TRACEPOINT count\n",
        kernel.version
    );
    let name = line(&kernel.version);
    fs::rename(part, root.join(FOLDER).join(format!("{name}.btf")))?;
    fs::write(root.join(FOLDER).join(format!("{name}.offsets")), head + &answers)?;
    fs::remove_file(whole)?;
    println!(
        "{}: {} of {} types, {} of {} bytes, {} answers",
        kernel.version,
        blob::parse(&extract).map_err(Failure::Broken)?.len(),
        types.len(),
        extract.len(),
        kernel.btf.len(),
        answers.lines().count()
    );
    Ok(())
}

/// Returns the line of a version: 6.12 for 6.12.9-amd64. A newer kernel of a line replaces an older
/// one.
fn line(version: &str) -> String {
    let numbers = version.split(|letter: char| !letter.is_ascii_digit());
    numbers.take(2).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_line_of_a_version() {
        assert_eq!(super::line("6.12.117+deb12-cloud-amd64"), "6.12");
        assert_eq!(super::line("7.3"), "7.3");
    }
}
