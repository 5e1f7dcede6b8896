//! JSON form of the coverage in the header of a recording.
//!
//! The member names and words are those of format version 1.0. They are independent of those of a
//! report, so that old recordings stay readable when a member of the report is renamed.

use serde::{Deserialize, Serialize};
use zctrace_report::{Coverage, Fact, FactStatus, NotCovered, Tier};

/// Coverage at the start of the recording.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(super) struct CoverageJson {
    #[serde(default)]
    facts: Vec<FactJson>,
    #[serde(default)]
    not_observed: Vec<NotCoveredJson>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FactJson {
    name: String,
    #[serde(default)]
    seen_by: String,
    tier: Tier,
    alive: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proven_unix_ms: Option<u64>,
    #[serde(default)]
    why_not: String,
    #[serde(default)]
    mend: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct NotCoveredJson {
    what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calls: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// Words of [`FactStatus`] that differ between a recording and a report.
const STATUS_WORDS: [(&str, FactStatus); 2] = [("yes", FactStatus::Verified), ("absent", FactStatus::Unavailable)];

fn status_word(status: &FactStatus) -> String {
    let differs = STATUS_WORDS.iter().find(|(_, of)| of == status);
    differs.map_or_else(|| status.as_str(), |(word, _)| word).to_owned()
}

fn status_of(word: &str) -> FactStatus {
    let differs = STATUS_WORDS.iter().find(|(of, _)| *of == word);
    differs.map_or_else(|| word.into(), |(_, status)| status.clone())
}

impl From<&Coverage> for CoverageJson {
    fn from(coverage: &Coverage) -> Self {
        let fact = |fact: &Fact| FactJson {
            name: fact.name.clone(),
            seen_by: fact.observed_by.clone(),
            tier: fact.tier.clone(),
            alive: status_word(&fact.status),
            proven_unix_ms: fact.verified_unix_ms,
            why_not: fact.missing_reason.clone(),
            mend: fact.hint.clone(),
        };
        let not_covered = |row: &NotCovered| NotCoveredJson {
            what: row.operation.clone(),
            calls: row.calls,
            bytes: row.bytes,
        };
        Self {
            facts: coverage.facts.iter().map(fact).collect(),
            not_observed: coverage.not_covered.iter().map(not_covered).collect(),
        }
    }
}

impl From<&CoverageJson> for Coverage {
    fn from(coverage: &CoverageJson) -> Self {
        let fact = |fact: &FactJson| Fact {
            name: fact.name.clone(),
            observed_by: fact.seen_by.clone(),
            tier: fact.tier.clone(),
            status: status_of(&fact.alive),
            verified_unix_ms: fact.proven_unix_ms,
            missing_reason: fact.why_not.clone(),
            hint: fact.mend.clone(),
        };
        let not_covered = |row: &NotCoveredJson| NotCovered {
            operation: row.what.clone(),
            calls: row.calls,
            bytes: row.bytes,
            ..NotCovered::default()
        };
        Self {
            facts: coverage.facts.iter().map(fact).collect(),
            not_covered: coverage.not_observed.iter().map(not_covered).collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_names_and_words_are_those_of_version_1_0() {
        let json = r#"{"facts":[
            {"name":"a","seen_by":"x","tier":"T0","alive":"yes","proven_unix_ms":7,"why_not":"","mend":""},
            {"name":"b","seen_by":"","tier":"T1","alive":"absent","why_not":"so","mend":"do"},
            {"name":"c","seen_by":"","tier":"T0","alive":"silent","why_not":"","mend":""}],
            "not_observed":[{"what":"splice by io_uring","calls":2}]}"#;
        let read: CoverageJson = serde_json::from_str(json).unwrap();
        let coverage = Coverage::from(&read);
        let statuses: Vec<&FactStatus> = coverage.facts.iter().map(|fact| &fact.status).collect();
        assert_eq!(
            statuses,
            [&FactStatus::Verified, &FactStatus::Unavailable, &FactStatus::Silent]
        );
        assert_eq!(
            (
                coverage.facts[1].missing_reason.as_str(),
                coverage.facts[1].hint.as_str()
            ),
            ("so", "do")
        );
        let written = serde_json::to_value(CoverageJson::from(&coverage)).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }
}
