//! Text of a flow's certificate: hop by hop, one page in full, and what it does not prove.

use std::fmt::Write as _;

use zctrace_report::format::{count, printable, size};
use zctrace_report::{Certificate, Custody, Flow, ProofKind, Report, Verdict};

use super::{reasons, report, segments};
use crate::render::text::{TextSink, shorten, wrap};

/// Renders the certificate of a flow.
pub(crate) fn certificate(of: &Report, flow: &Flow) -> String {
    let mut text = String::new();
    write_certificate(&mut text, of, flow);
    text
}

/// Writes the certificate of a flow to a sink of any width.
pub(crate) fn write_certificate(text: &mut impl TextSink, of: &Report, flow: &Flow) {
    write_verdict(text, flow);
    wrap(text, "               ", &report::scope_line(of));
    if let Some(certificate) = &flow.certificate {
        write_hops(text, flow, certificate);
        write_digest(text, certificate);
        write_balance(text, of, flow);
        segments::write_flow_segments(text, of, flow);
        write_examples(text, certificate);
    } else {
        text.push('\n');
        wrap(text, "", &format!("flow {}  {} → {}", flow.id, flow.from, flow.to));
        write_balance(text, of, flow);
    }
    reasons::write_reasons(text, of, |id| id == flow.id);
    write_not_proved(text, of, flow);
}

/// Writes the first line: the verdict, the bytes, and the endpoints.
fn write_verdict(text: &mut impl TextSink, flow: &Flow) {
    let account = &flow.account;
    let between = format!("from {} to {}", flow.from, flow.to);
    let arrived = size(account.delivered());
    let (verdict, rest) = match (&flow.certificate, flow.verdict()) {
        (_, Verdict::Nothing) => (
            "NO PAYLOAD".to_owned(),
            format!(
                "{} {between} were holes, reflinks or discarded",
                size(account.excluded.total())
            ),
        ),
        (None, _) => (
            "NO CERTIFICATE".to_owned(),
            format!("{arrived} {between}: no observation shows their path"),
        ),
        (Some(certificate), Verdict::Moved) => match certificate.moved_weakness() {
            Some(weakness) => (
                "NOT PROVED".to_owned(),
                format!("{arrived} {between}: {}", printable(&weakness)),
            ),
            None => moved_verdict(flow, certificate, &between),
        },
        (Some(_), _) => {
            let mark = match (account.copied, account.unknown) {
                (0, _) => "PARTLY UNKNOWN",
                (copied, 0) if copied == account.delivered() => "COPIED",
                _ => "PARTLY MOVED",
            };
            (
                mark.to_owned(),
                format!(
                    "{} of {arrived} moved, {} copied, {} unknown, {between}",
                    size(account.moved),
                    size(account.copied),
                    size(account.unknown)
                ),
            )
        }
    };
    wrap(text, &format!("{verdict}   "), &rest);
}

fn moved_verdict(flow: &Flow, certificate: &Certificate, between: &str) -> (String, String) {
    let stations = certificate.hops.len();
    let stations = match stations {
        2 => "BOTH".to_owned(),
        many => format!("ALL {many}"),
    };
    let verdict = if all_same_page(certificate) {
        format!("SAME PAGE AT {stations} STAGES")
    } else {
        format!("MOVED THROUGH {stations} STAGES")
    };
    let pages = certificate.hops.iter().map(|hop| hop.pages).max().unwrap_or(0);
    let pages = match pages {
        0 => String::new(),
        many => format!("{} page references, ", count(many)),
    };
    let all = flow.account.delivered();
    let part = if certificate.bytes < all {
        format!(" (evidence for {} of them)", size(certificate.bytes))
    } else {
        String::new()
    };
    (verdict, format!("{}, {pages}{between}{part}", size(all)))
}

/// Returns whether probes observed the same page at all stations.
fn all_same_page(certificate: &Certificate) -> bool {
    let mut proofs = certificate.hops.iter().map(|hop| &hop.proof);
    proofs.all(|proof| matches!(proof, ProofKind::Start | ProofKind::Identity))
}

/// Writes two lines for each stage: the observation, and its probe.
fn write_hops(text: &mut impl TextSink, flow: &Flow, certificate: &Certificate) {
    text.push('\n');
    wrap(
        text,
        &format!("certificate of flow {}   ", flow.id),
        &format!("{}, level {}", flow.path_text(), printable(certificate.level.as_str())),
    );
    let number = |number: u64| if number == 0 { "–".to_owned() } else { count(number) };
    let mut rows = vec![["", "stage", "calls", "bytes", "refs", "custody"].map(str::to_owned)];
    for (index, hop) in certificate.hops.iter().enumerate() {
        let custody = match &hop.custody {
            Custody::NotObserved => "–".to_owned(),
            seen => shorten(&printable(seen.as_str()), 8),
        };
        rows.push([
            (index + 1).to_string(),
            hop.station.to_string(),
            number(hop.calls),
            count(hop.bytes),
            number(hop.pages),
            custody,
        ]);
    }
    let mut widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    // The stage gets the width that the other columns leave.
    let others = 1 + 2 * 5 + widths[0] + widths[2..].iter().sum::<usize>();
    widths[1] = widths[1].min(text.width().saturating_sub(others));
    for (row, hop) in rows
        .iter()
        .zip(std::iter::once(None).chain(certificate.hops.iter().map(Some)))
    {
        let [number, station, calls, bytes, pages, custody] = row;
        let station = shorten(station, widths[1]);
        let line = format!(
            " {number:>0$}  {station:<1$}  {calls:>2$}  {bytes:>3$}  {pages:>4$}  {custody}",
            widths[0], widths[1], widths[2], widths[3], widths[4]
        );
        text.push_str(line.trim_end());
        text.push('\n');
        if let Some(hop) = hop {
            let shown = match &hop.proof {
                ProofKind::Start => String::new(),
                ProofKind::Identity => ", the same page".to_owned(),
                other => format!(", by {}", printable(other.as_str()).replace('_', " ")),
            };
            let indent = format!(" {:1$}  observed by ", "", widths[0]);
            wrap(text, &indent, &format!("{}{shown}", printable(&hop.observed_by)));
            if let Some(names) = &hop.segments {
                let indent = format!(" {:1$}  bufferlist ", "", widths[0]);
                wrap(text, &indent, &segments::segment_names(names, hop.bytes));
            }
        }
    }
    if certificate.hops.iter().any(|hop| hop.custody == Custody::Assumed) {
        let same = if all_same_page(certificate) { "same page; " } else { "" };
        let line = format!("{same}custody assumed: each holder takes its reference before the previous one drops it");
        wrap(text, "   ", &line);
    }
    wrap(
        text,
        "   ",
        &format!("observed up to {}", printable(&certificate.horizon)),
    );
}

fn write_digest(text: &mut impl TextSink, certificate: &Certificate) {
    if let Some(digest) = &certificate.digest {
        let mut line = format!(
            "page digests were equal at {} of {} checkpoints, one every {}",
            count(digest.equal),
            count(digest.checkpoints),
            size(digest.interval_bytes)
        );
        if digest.full_records_one_in > 0 {
            let _ = write!(
                line,
                "; all pages of one call in {} were recorded",
                count(digest.full_records_one_in)
            );
        }
        wrap(text, "   ", &line);
    }
}

/// Writes the balance of the bytes.
fn write_balance(text: &mut impl TextSink, of: &Report, flow: &Flow) {
    let account = &flow.account;
    let neither = match account.excluded.total() {
        0 => String::new(),
        some => format!(" + excluded {}", count(some)),
    };
    let line = format!(
        "balance: moved {} + copied {} + unknown {}{neither} = {} delivered",
        count(account.moved),
        count(account.copied),
        count(account.unknown),
        count(flow.payload)
    );
    wrap(text, "   ", &line);
    for edge in of.edges.iter().filter(|edge| edge.flow == Some(flow.id)) {
        let line = format!(
            "{} calls of {} returned {}: moved {}, copied {}, unknown {}",
            count(edge.calls),
            printable(edge.call.as_str()),
            count(edge.bytes),
            count(edge.account.moved),
            count(edge.account.copied),
            count(edge.account.unknown)
        );
        wrap(text, "     ", &line);
    }
}

fn write_examples(text: &mut impl TextSink, certificate: &Certificate) {
    for example in &certificate.examples {
        let held: Vec<String> = example
            .held_by
            .iter()
            .map(|held| printable(held).into_owned())
            .collect();
        text.push('\n');
        let _ = writeln!(text, " one page in full, offset {}", count(example.offset));
        let line = format!("{}  [{} bytes]", held.join(" = "), count(example.len));
        wrap(text, "   ", &format!("page {} = {line}", printable(&example.page)));
    }
}

fn write_not_proved(text: &mut impl TextSink, of: &Report, flow: &Flow) {
    text.push('\n');
    let mut said: Vec<String> = flow
        .certificate
        .iter()
        .flat_map(|certificate| &certificate.not_proved)
        .map(|sentence| printable(sentence).into_owned())
        .collect();
    if !said.iter().any(|sentence| sentence.contains("changed in place")) {
        said.push("That the bytes were not changed in place: zctrace never reads contents.".to_owned());
    }
    for sentence in said {
        wrap(text, " not proved: ", &sentence);
    }
    let made = &of.provenance;
    let mut recorded = format!(
        "kernel {}, zctrace {}",
        printable(&made.kernel_release),
        printable(&made.zctrace_version)
    );
    if let Some(object) = &made.object_hash {
        let _ = write!(recorded, ", object {}", shorten(&printable(object), 16));
    }
    wrap(text, " ", &recorded);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::{assert_fits, assert_snapshot, nginx};

    #[test]
    fn certificate_of_a_moved_flow_matches_snapshot() {
        let of = nginx();
        let text = certificate(&of, of.flow(1).unwrap());
        assert_fits(&text);
        assert_snapshot(&text, "certificate.txt");
    }

    #[test]
    fn weak_certificate_is_not_proved() {
        let mut of = nginx();
        let flow = &mut of.flows[0];
        flow.certificate.as_mut().unwrap().hops[1].custody = Custody::Broken;
        let text = certificate(&of, &of.flows[0]);
        assert!(text.starts_with("NOT PROVED   "), "{text}");
        assert!(text.contains("custody is broken at station 2"), "{text}");
    }

    #[test]
    fn copied_flow_without_certificate_is_labeled() {
        let of = nginx();
        let text = certificate(&of, of.flow(2).unwrap());
        assert!(text.starts_with("NO CERTIFICATE   2.7 GiB from memory"), "{text}");
        assert!(
            text.contains("ZC14") && !text.contains("ZC10"),
            "only its own reasons\n{text}"
        );
        assert_fits(&text);
    }

    #[test]
    fn flow_of_holes_only_has_no_payload() {
        let mut of = nginx();
        let account = &mut of.flows[1].account;
        account.excluded.zero = account.delivered();
        (account.moved, account.copied, account.unknown) = (0, 0, 0);
        let text = certificate(&of, of.flow(2).unwrap());
        assert!(text.starts_with("NO PAYLOAD   2.7 GiB from memory"), "{text}");
    }
}
