//! What `Report::check` can find wrong with a report.

use std::fmt;

use super::format;

/// One broken rule, and where.
#[derive(Clone, PartialEq, Debug)]
pub struct Violation {
    /// The part of the report, as a path in its JSON, such as `flows[3].reasons[0]`.
    pub at: String,
    /// The rule.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, format::printable(&self.rule.to_string()))
    }
}

impl std::error::Error for Violation {}

/// A rule that a report must keep, with what was found instead. Sums are wider than their parts, which may overflow.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Rule {
    /// `moved + copied + unknown + excluded` must be the number of bytes.
    Conservation {
        /// What the four parts add up to.
        parts: u128,
        /// What they must add up to.
        total: u64,
    },
    /// Totals must be the sums over their flows.
    Totals {
        /// The member that differs.
        member: String,
        /// The sum over the flows.
        flows: u128,
        /// What the report says.
        stated: u64,
    },
    /// The share must be that of the totals, and absent where nothing arrived.
    Share {
        /// What is wrong.
        problem: String,
    },
    /// A byte that was copied was copied at least once, and one that was not was not.
    CopyBytes {
        /// Bytes copied.
        copied: u64,
        /// Bytes that copies wrote.
        copy_bytes: u64,
    },
    /// `copies_per_byte` must follow from `copy_bytes` and what arrived.
    CopiesPerByte {
        /// What it must be.
        computed: Option<f64>,
        /// What the report says.
        stated: Option<f64>,
    },
    /// Reasons must not explain more bytes than there are to be explained.
    ReasonsExceed {
        /// What they explain: `copies`, `unknowns` or `both`.
        class: &'static str,
        /// Bytes explained.
        explained: u128,
        /// Bytes to be explained.
        bytes: u128,
    },
    /// Every unknown byte must have a reason, and what was copied must have at least one.
    Unexplained {
        /// What lacks a reason: `copied` or `unknown`.
        class: &'static str,
        /// Bytes without one.
        bytes: u128,
    },
    /// A code must be `ZC` and two to four digits. Codes that are not known are no violation.
    Code {
        /// The code.
        code: String,
    },
    /// Lost records are a reason only where records were lost.
    LossWithoutLoss,
    /// The sums over programs must be the totals of the losses.
    LossSums {
        /// The counter that differs.
        counter: &'static str,
        /// The sum over programs.
        programs: u128,
        /// What the report says.
        stated: u64,
    },
    /// Bytes that probes show to have moved must have a certificate.
    MovedWithoutCertificate,
    /// The certificate of moved bytes must be able to back the word.
    WeakCertificate {
        /// Why it cannot.
        problem: String,
    },
    /// A certificate must name its horizon, and cover no more than the payload.
    Certificate {
        /// What is wrong.
        problem: String,
    },
    /// Flows must have numbers from 1, each its own, and stand for at least one flow.
    FlowNumber {
        /// What is wrong.
        problem: String,
    },
    /// A path must begin and end with the kinds of the two ends.
    Path,
    /// Edges and looks must refer to a flow of the report.
    NoSuchFlow {
        /// The number referred to.
        id: u64,
    },
    /// A range must not end before it starts.
    Range {
        /// Its first byte.
        start: u64,
        /// One past its last byte.
        end: u64,
    },
    /// A measured number must be finite and not negative, and a part no more than its whole.
    Measure {
        /// What is wrong.
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
            Self::Certificate { problem } | Self::FlowNumber { problem } | Self::Measure { problem } => {
                f.write_str(problem)
            }
            Self::Path => f.write_str("the path does not begin and end with the kinds of its ends"),
            Self::NoSuchFlow { id } => write!(f, "there is no flow {id}"),
            Self::Range { start, end } => write!(f, "the range {start}..{end} ends before it starts"),
        }
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| value.to_string())
}
