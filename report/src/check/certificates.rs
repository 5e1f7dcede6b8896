//! Rules about certificates, and about the journals that name their segments.

use std::fmt::Display;

use super::Violations;
use crate::Report;
use crate::account::Verdict;
use crate::certificate::{Certificate, Custody};
use crate::flow::Flow;
use crate::segment::JournalAgreement;
use crate::violation::Rule;

/// Iterates over the flows that have a certificate, with the place of the certificate.
fn certified(report: &Report) -> impl Iterator<Item = (String, &Flow, &Certificate)> {
    report.flows.iter().enumerate().filter_map(|(index, flow)| {
        let certificate = flow.certificate.as_ref()?;
        Some((format!("flows[{index}].certificate"), flow, certificate))
    })
}

pub(super) fn present(report: &Report, found: &mut Violations) {
    for (index, flow) in report.flows.iter().enumerate() {
        let tier = flow.tier.as_ref().unwrap_or(&report.tier);
        let needs_certificate = flow.account.moved > 0 && tier.observes_pages();
        let holds = !needs_certificate || flow.certificate.is_some();
        found.require(holds, format_args!("flows[{index}]"), || Rule::MovedWithoutCertificate);
    }
}

pub(super) fn coverage(report: &Report, found: &mut Violations) {
    for (at, flow, certificate) in certified(report) {
        let (covers, payload) = (certificate.bytes, flow.payload);
        found.require(covers <= payload, &at, || Rule::Certificate {
            problem: format!("it covers {covers} bytes of a payload of {payload}"),
        });
        found.require(!certificate.horizon.is_empty(), &at, || Rule::Certificate {
            problem: "it does not name its horizon".to_owned(),
        });
        // The certificate of an aggregate row is that of one of its flows.
        let must_cover_all = flow.verdict() == Verdict::Moved && flow.folded == 1;
        let delivered = flow.account.delivered();
        found.require(!must_cover_all || covers >= delivered, &at, || Rule::Certificate {
            problem: format!("it covers {covers} of {delivered} moved bytes"),
        });
    }
}

pub(super) fn proof(report: &Report, found: &mut Violations) {
    for (at, flow, certificate) in certified(report) {
        // Only a flow whose bytes all moved needs a certificate that proves *moved* at every
        // station. In a mixed flow, a station may have observed fewer bytes.
        if flow.verdict() != Verdict::Moved {
            continue;
        }
        let weakness = certificate.moved_weakness();
        found.require(weakness.is_none(), &at, || Rule::WeakCertificate {
            problem: weakness.unwrap_or_default(),
        });
    }
}

pub(super) fn custody(report: &Report, found: &mut Violations) {
    for (at, _, certificate) in certified(report) {
        for (index, hop) in certificate.hops.iter().enumerate() {
            let problem = match (index.checked_sub(1), &hop.custody) {
                (None, Custody::Kept | Custody::Assumed | Custody::Broken) => {
                    format!(
                        "custody of the first station is `{}`, but no hop leads there",
                        hop.custody
                    )
                }
                (Some(before), Custody::Assumed) if !hop.is_custody_axiomatic(&certificate.hops[before]) => format!(
                    "custody is assumed from {} to {}, where no axiom holds",
                    certificate.hops[before].station, hop.station
                ),
                _ => continue,
            };
            found.require(false, format_args!("{at}.hops[{index}]"), || Rule::Custody { problem });
        }
    }
}

pub(super) fn segment_names(report: &Report, found: &mut Violations) {
    for (at, _, certificate) in certified(report) {
        for (index, hop) in certificate.hops.iter().enumerate() {
            let Some(names) = &hop.segments else { continue };
            let at = format!("{at}.hops[{index}].segments");
            let (covered, bytes) = (names.bytes, hop.bytes);
            found.require(covered <= bytes, &at, || Rule::Certificate {
                problem: format!("segments are named for {covered} of {bytes} bytes"),
            });
            let agrees = names.agreement == JournalAgreement::Agrees;
            found.require(!agrees || covered == bytes, &at, || Rule::Certificate {
                problem: format!("it agrees on all bytes, but names {covered} of {bytes}"),
            });
        }
    }
}

pub(super) fn agreement(report: &Report, found: &mut Violations) {
    let mut check = |at: &dyn Display, agreement: &JournalAgreement, detail: &str| {
        let holds = *agreement == JournalAgreement::Agrees || !detail.is_empty();
        found.require(holds, at, || Rule::Certificate {
            problem: format!("agreement is `{agreement}` without a reason"),
        });
    };
    for (at, _, certificate) in certified(report) {
        for (index, hop) in certificate.hops.iter().enumerate() {
            if let Some(names) = &hop.segments {
                check(
                    &format_args!("{at}.hops[{index}].segments"),
                    &names.agreement,
                    &names.detail,
                );
            }
        }
    }
    for (index, segment) in report.segments.iter().enumerate() {
        check(&format_args!("segments[{index}]"), &segment.agreement, &segment.detail);
    }
}
