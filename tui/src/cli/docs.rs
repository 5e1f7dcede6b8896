//! The manual pages and the completions of shells are what the command line says now.
//!
//! They are committed in `docs/`, so that no user builds what makes them, and made by `cargo xtask man`.

use std::path::{Path, PathBuf};

use clap_complete::Shell;

/// The command line, with a version that does not change with every eBPF object.
fn command() -> clap::Command {
    super::zctrace().version(env!("CARGO_PKG_VERSION"))
}

fn man(command: clap::Command) -> Vec<u8> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        // A date would make every build another page.
        .date("")
        .source(concat!("zctrace ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands")
        .render(&mut page)
        .expect("a page in memory");
    page
}

/// All files, by their place in `docs/`.
fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let mut root = command();
    root.build();
    let mut files = vec![(PathBuf::from("man/zctrace.1"), man(command()))];
    for sub in root.get_subcommands().filter(|sub| sub.get_name() != "help") {
        // Names live for ever unless clap is built with more features.
        let name: &'static str = format!("zctrace-{}", sub.get_name()).leak();
        let page = man(sub.clone().name(name).version(env!("CARGO_PKG_VERSION")));
        files.push((PathBuf::from(format!("man/{name}.1")), page));
    }
    for (shell, name) in [
        (Shell::Bash, "zctrace.bash"),
        (Shell::Zsh, "_zctrace"),
        (Shell::Fish, "zctrace.fish"),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command(), "zctrace", &mut text);
        files.push((Path::new("completions").join(name), text));
    }
    files
}

#[test]
fn man_pages_and_completions_are_up_to_date() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let files = files();
    for folder in ["man", "completions"] {
        let files = files.iter().filter_map(|(path, text)| {
            let name = path.strip_prefix(folder).ok()?.to_str().expect("an ASCII name");
            let text = std::str::from_utf8(text).expect("UTF-8");
            Some((name.to_owned(), text.to_owned()))
        });
        test_support::assert_snapshots(docs.join(folder), None, files);
    }
}
