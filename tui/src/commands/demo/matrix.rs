//! `zctrace demo --matrix`: shows which pairs of endpoints share pages on this kernel, as the
//! oracle observes.

use std::fmt::Write as _;
use std::path::Path;

use bufferlist::EndpointKind;
use bufferlist::oracle::{Matrix, SinkColumn, Verdict};
use zctrace_report::format::printable;

use crate::render::text::wrap;
use crate::{exit_code, terminal_io};

/// Probes all pairs, prints the matrix, and returns the exit code.
pub(crate) fn run(dir: &Path) -> u8 {
    let matrix = Matrix::probe(dir);
    let (text, all) = table(&matrix, dir);
    terminal_io::print(
        &text,
        if all {
            exit_code::SUCCESS
        } else {
            exit_code::INCONCLUSIVE
        },
    )
}

/// Renders the matrix: destinations as rows, because there are more of them, and sources as
/// columns. Also returns whether all pairs were answered.
fn table(matrix: &Matrix, dir: &Path) -> (String, bool) {
    let mut sources: Vec<EndpointKind> = Vec::new();
    let (mut shared, mut private, mut unanswered) = (0, 0, Vec::new());
    for (from, column, answer) in matrix.cells() {
        if !sources.contains(&from) {
            sources.push(from);
        }
        match answer {
            Ok(Verdict::Shared) => shared += 1,
            Ok(Verdict::Private) => private += 1,
            Err(error) => unanswered.push(format!("{} → {}: {error}", from.name(), column.name())),
        }
    }
    let all = shared + private + unanswered.len();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{shared} OF {all} PAIRS SHARE PAGES   {private} do not, {} were not answered",
        unanswered.len()
    );
    let scope = format!("kernel {}, files in {}", matrix.kernel(), dir.display());
    let _ = writeln!(text, "{}\n", printable(&scope));
    let _ = write!(text, "   {:<12}", "to \\ from");
    for from in &sources {
        let _ = write!(text, "{:>13}", from.name());
    }
    text.push('\n');
    for column in SinkColumn::ALL {
        let _ = write!(text, "   {:<12}", column.name());
        for &from in &sources {
            let word = match matrix.get(from, column) {
                Some(Verdict::Shared) => "= shared",
                Some(Verdict::Private) => "x private",
                None => "? -",
            };
            let _ = write!(text, "{word:>13}");
        }
        text.push('\n');
    }
    text.push('\n');
    if !unanswered.is_empty() {
        text.push_str("not answered\n");
        for why in &unanswered {
            wrap(&mut text, "?  ", &printable(why));
        }
        text.push('\n');
    }
    wrap(
        &mut text,
        "",
        "A page was moved from each source to each destination, changed at the source, and read at the destination. \
         = the change was visible, so both share the page. x it was not: the bytes were copied, or fetched by a device, as \
         for direct, which is a file opened with O_DIRECT.",
    );
    (text, unanswered.is_empty())
}
