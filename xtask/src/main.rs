//! Development tasks of the project: `cargo xtask <task>`. One file per task; this one parses the
//! command line.

mod bench;
mod btf;
mod check;
mod check_report;
mod codegen;
mod docs;
mod elf;
mod man;
mod repo;
mod screens;
mod vm;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <chore>

  check               the repository's rules: layout, file length, file heads, forbidden marks, README, SAFETY comments
  check --prose       the rules for comments and documents: openings, words, width; counts by folder
  check-report FILE   whether FILE (`-`: standard input) is a report whose sums are right
  docs                the documentation, warnings being errors
  man                 the manual pages and the completions of shells, in docs/, out of the command line
  bench               every benchmark: criterion for parts, paired runs for paths, the cost and latencies of tracing
  btf KERNEL…         the test data of the reader of kernel types: `running`, a line of Debian's kernels, or a file
  codegen             builds the eBPF object that is committed
  codegen --check     whether the committed object is what its sources give, byte for byte
  codegen --check-sources
                      whether it is of these sources, which needs no compiler
  codegen --install   gets the compiler (by apt-get) and the linker for it
  screens             the viewer's screens, from a real terminal, into docs/screens
  vm [LINE…]          the tests under stock kernels in virtual machines: 6.1 and 6.12, or the lines that are named
";

/// Failure of a task.
enum Failure {
    /// It ran and found violations, or cannot run here; it has printed the details.
    Found,
    /// It could not run, for this reason.
    Broken(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

type Outcome = Result<(), Failure>;

fn main() -> ExitCode {
    if let Some(code) = codegen::as_compiler() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["check"] => check::run(&repo::root()),
        ["check", "--prose"] => check::prose(&repo::root()),
        ["check-report", path] => check_report::run(path),
        ["docs"] => docs::run(&repo::root()),
        ["man"] => man::run(&repo::root()),
        ["bench"] => bench::run(&repo::root()),
        ["btf", kernels @ ..] => btf::run(&repo::root(), kernels),
        ["codegen", options @ ..] => codegen::run(&repo::root(), options),
        ["screens"] => screens::run(&repo::root()),
        ["vm", lines @ ..] => vm::run(&repo::root(), lines),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Found) => ExitCode::from(1),
        Err(Failure::Broken(why)) => {
            eprintln!("xtask: {why}");
            ExitCode::from(1)
        }
    }
}
