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

/// What is committed in a folder of `docs/`.
fn committed(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn the_committed_ones_are_what_the_command_line_says() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let files = files();
    let is_blessed = std::env::var_os("BLESS").is_some();
    for folder in ["man", "completions"] {
        for path in committed(&docs.join(folder)) {
            if files.iter().any(|(name, _)| docs.join(name) == path) {
                continue;
            }
            assert!(is_blessed, "{} is of no command: cargo xtask man", path.display());
            std::fs::remove_file(path).expect("removed");
        }
    }
    for (name, text) in files {
        let path = docs.join(&name);
        if is_blessed {
            std::fs::write(&path, &text).expect("it can be written");
        }
        let committed = std::fs::read(&path).unwrap_or_default();
        assert!(committed == text, "{} is out of date: cargo xtask man", name.display());
    }
}
