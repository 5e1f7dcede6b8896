//! Violations that `Report::check` can find in a report.

use std::fmt;

use super::format;

/// One violated rule, with its place in the report.
#[derive(Clone, PartialEq, Debug)]
pub struct Violation {
    /// Part of the report, as a path in its JSON, such as `flows[3].reasons[0]`.
    pub at: String,
    /// Violated rule.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, format::printable(&self.rule.to_string()))
    }
}

impl std::error::Error for Violation {}

/// Rule that a report must follow, with the values that violate it. Sums are wider than their
/// parts, because the parts may overflow.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Rule {
    /// `moved + copied + unknown + excluded` must equal the number of bytes.
    Conservation {
        /// Sum of the four parts.
        parts: u128,
        /// Number of bytes.
        total: u64,
    },
    /// Totals must be the sums over their flows.
    Totals {
        /// Member that differs.
        member: String,
        /// Sum over the flows.
        flows: u128,
        /// Value in the report.
        stated: u64,
    },
    /// The share must be that of the totals, and absent if no payload was delivered.
    Share {
        /// Description of the violation.
        problem: String,
    },
    /// Copies must have written each copied byte at least once, and nothing if no byte was copied.
    CopyBytes {
        /// Copied bytes.
        copied: u64,
        /// Bytes that copies wrote.
        copy_bytes: u64,
    },
    /// `copies_per_byte` must follow from `copy_bytes` and the delivered bytes.
    CopiesPerByte {
        /// Value computed from the flow.
        computed: Option<f64>,
        /// Value in the report.
        stated: Option<f64>,
    },
    /// Reasons must not explain more bytes than there are to explain.
    ReasonsExceed {
        /// Class of the explained bytes: `copies`, `unknowns` or `both`.
        class: &'static str,
        /// Bytes that the reasons explain.
        explained: u128,
        /// Bytes to explain.
        bytes: u128,
    },
    /// Every unknown byte must have a reason, and copied bytes must have at least one.
    Unexplained {
        /// Class of the bytes without a reason: `copied` or `unknown`.
        class: &'static str,
        /// Bytes without a reason.
        bytes: u128,
    },
    /// A code must be `ZC` and two to four digits. A well-formed code that this version does not
    /// define is accepted.
    Code {
        /// Malformed code.
        code: String,
    },
    /// Lost records must not be a reason if no records were lost.
    LossWithoutLoss,
    /// The sums over programs must equal the totals of the losses.
    LossSums {
        /// Counter that differs.
        counter: &'static str,
        /// Sum over the programs.
        programs: u128,
        /// Value in the report.
        stated: u64,
    },
    /// Moved bytes of a tier that observes pages must have a certificate.
    MovedWithoutCertificate,
    /// The certificate of moved bytes must prove *moved*.
    WeakCertificate {
        /// Reason why it does not.
        problem: String,
    },
    /// A certificate must name its horizon, and cover at most the payload.
    Certificate {
        /// Description of the violation.
        problem: String,
    },
    /// The first station must have no custody, and custody must be assumed only where it follows
    /// from an axiom.
    Custody {
        /// Description of the violation.
        problem: String,
    },
    /// Flow numbers must be unique and start at 1, and a row must aggregate at least one flow.
    FlowNumber {
        /// Description of the violation.
        problem: String,
    },
    /// A path must begin and end with the kinds of the two endpoints.
    Path,
    /// Edges, peeks and segments must refer to a flow of the report.
    NoSuchFlow {
        /// Number that no flow has.
        id: u64,
    },
    /// A range must not end before it starts.
    Range {
        /// Offset of its first byte.
        start: u64,
        /// Offset one past its last byte.
        end: u64,
    },
    /// A measured number must be finite and not negative, and a part must not exceed its whole.
    Measure {
        /// Description of the violation.
        problem: String,
    },
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conservation { parts, total } => {
                write!(f, "moved + copied + unknown + excluded is {parts}, not {total} bytes")
            }
            Self::Totals { member, flows, stated } => {
                write!(f, "{member} is {stated}, but the flows add up to {flows}")
            }
            Self::Share { problem } => write!(f, "the share is wrong: {problem}"),
            Self::CopyBytes { copied, copy_bytes } => {
                write!(f, "{copied} bytes were copied, but copies wrote {copy_bytes}")
            }
            Self::CopiesPerByte { computed, stated } => {
                write!(f, "copies_per_byte is {}, not {}", number(*stated), number(*computed))
            }
            Self::ReasonsExceed {
                class,
                explained,
                bytes,
            } => {
                write!(f, "reasons explain {explained} bytes ({class}), of {bytes}")
            }
            Self::Unexplained { class, bytes } => write!(f, "{bytes} {class} bytes have no reason"),
            Self::Code { code } => write!(f, "{code:?} is not a reason code"),
            Self::LossWithoutLoss => f.write_str("lost records are given as the reason, but none were lost"),
            Self::LossSums {
                counter,
                programs,
                stated,
            } => {
                write!(f, "{counter} is {stated}, but the programs add up to {programs}")
            }
            Self::MovedWithoutCertificate => f.write_str("bytes are stated to have moved, without a certificate"),
            Self::WeakCertificate { problem } => write!(f, "the certificate cannot back \"moved\": {problem}"),
            Self::Certificate { problem }
            | Self::Custody { problem }
            | Self::FlowNumber { problem }
            | Self::Measure { problem } => f.write_str(problem),
            Self::Path => f.write_str("the path does not begin and end with the kinds of its ends"),
            Self::NoSuchFlow { id } => write!(f, "there is no flow {id}"),
            Self::Range { start, end } => write!(f, "the range {start}..{end} ends before it starts"),
        }
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| value.to_string())
}
