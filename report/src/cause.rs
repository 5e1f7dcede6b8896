//! Reasons for copied and unknown bytes: the code of a [`zctrace_contract::Reason`], the number of
//! bytes it explains, and the call site.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;

use serde::{Deserialize, Serialize};
use zctrace_contract::reason::Class;
use zctrace_contract::{LibraryReason, Reason};

use super::format;

/// Code of a reason, such as `ZC03`. A code that a newer version defines is kept unchanged.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReasonCode(#[cfg_attr(feature = "schema", schemars(regex(pattern = r"^ZC[0-9]{2,4}$")))] String);

impl ReasonCode {
    /// Creates a code from any text. `Report::check` reports a malformed code.
    ///
    /// ```
    /// use zctrace_report::ReasonCode;
    /// assert_eq!(ReasonCode::new("ZC03").reason(), Some(zctrace_contract::Reason::PageCacheSink));
    /// assert_eq!(ReasonCode::new("ZC77").reason(), None);
    /// ```
    pub fn new(code: impl Into<String>) -> Self {
        Self(code.into())
    }

    /// Returns the code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the reason, or `None` if this version does not define the code.
    pub fn reason(&self) -> Option<Reason> {
        Reason::from_code(&self.0)
    }

    /// Returns the class of the reason (copy or unknown), or `None` if this version does not define
    /// the code.
    pub fn class(&self) -> Option<Class> {
        self.reason().map(Reason::class)
    }

    /// Returns whether the text has the form of a code: `ZC` and two to four digits.
    pub fn is_well_formed(&self) -> bool {
        self.0
            .strip_prefix("ZC")
            .is_some_and(|n| (2..=4).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
    }
}

impl From<Reason> for ReasonCode {
    fn from(reason: Reason) -> Self {
        Self(reason.code().to_owned())
    }
}

impl From<LibraryReason> for ReasonCode {
    fn from(reason: LibraryReason) -> Self {
        Reason::from(reason).into()
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format::printable(&self.0))
    }
}

/// Number of bytes that one reason explains, at one call site.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cause {
    /// Code of the reason.
    pub code: ReasonCode,
    /// Bytes that the reason explains. A byte that was copied several times counts once for each
    /// copy.
    pub bytes: u64,
    /// Calls that the reason explains; 0 if they were not counted.
    #[serde(default)]
    pub calls: u64,
    /// Call site in the program; absent if it is not known or if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_site: Option<CallSite>,
}

impl Cause {
    /// Creates a cause without a call site: `bytes` in `calls` calls, with `reason`.
    pub fn new(reason: impl Into<ReasonCode>, bytes: u64, calls: u64) -> Self {
        Self {
            code: reason.into(),
            bytes,
            calls,
            call_site: None,
        }
    }
}

/// Adds `more` to `into`. Causes with equal code and call site become one row.
///
/// If more than `max` rows result, all call sites are dropped and only codes distinguish rows. A
/// server with ten thousand call sites would otherwise produce an unbounded row.
pub(crate) fn merge(into: &mut Vec<Cause>, more: &[Cause], max: usize) {
    for cause in more {
        add(into, cause, |have| {
            have.code == cause.code && have.call_site == cause.call_site
        });
    }
    if into.len() > max {
        for cause in std::mem::take(into) {
            let bare = Cause {
                call_site: None,
                ..cause
            };
            add(into, &bare, |have| have.code == bare.code);
        }
    }
}

fn add(into: &mut Vec<Cause>, cause: &Cause, same: impl Fn(&Cause) -> bool) {
    if let Some(have) = into.iter_mut().find(|have| same(have)) {
        have.bytes = have.bytes.saturating_add(cause.bytes);
        have.calls = have.calls.saturating_add(cause.calls);
    } else {
        into.push(cause.clone());
    }
}

/// Call site in the traced program.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallSite {
    /// Source file; empty if not known.
    #[serde(default)]
    pub file: String,
    /// Line in the source file, starting at 1; 0 if not known.
    #[serde(default)]
    pub line: u32,
    /// Function or symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Program or shared object that contains the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

impl From<&Location<'_>> for CallSite {
    fn from(location: &Location<'_>) -> Self {
        Self {
            file: location.file().to_owned(),
            line: location.line(),
            ..Self::default()
        }
    }
}

impl fmt::Display for CallSite {
    /// Writes `src/ingest.rs:88` if the file is known, else the function, else the object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match (self.file.as_str(), self.line, &self.function, &self.object) {
            ("", _, Some(function), Some(object)) => format!("{function} ({object})"),
            ("", _, Some(name), None) | ("", _, None, Some(name)) => name.clone(),
            ("", _, None, None) => "?".to_owned(),
            (file, 0, _, _) => file.to_owned(),
            (file, line, _, _) => format!("{file}:{line}"),
        };
        f.pad(&format::printable(&shown))
    }
}

/// Meaning of a reason code. The report contains it so that a reader of an older version can
/// explain the code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// Description: what happened, in one or two sentences.
    pub description: String,
    /// Advice: what a person can do, in one or two sentences. It may be "Nothing to do".
    pub advice: String,
}

/// Returns the explanations of those codes that this version defines.
pub(crate) fn explain<'a>(codes: impl Iterator<Item = &'a ReasonCode>) -> BTreeMap<String, Explanation> {
    codes
        .filter_map(ReasonCode::reason)
        .map(|reason| {
            let explanation = Explanation {
                description: reason.description().to_owned(),
                advice: reason.advice().to_owned(),
            };
            (reason.code().to_owned(), explanation)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32) -> CallSite {
        CallSite {
            file: "src/a.rs".to_owned(),
            line,
            ..CallSite::default()
        }
    }

    #[test]
    fn causes_of_one_code_and_place_become_one_row_and_places_go_when_there_are_too_many() {
        let mut rows = Vec::new();
        for line in 1..=4 {
            let mut cause = Cause::new(Reason::Peeked, 10, 1);
            cause.call_site = Some(at(line % 3));
            merge(&mut rows, &[cause], 3);
        }
        assert_eq!(rows.len(), 3, "{rows:?}");
        assert_eq!(rows.iter().find(|c| c.call_site == Some(at(1))).unwrap().bytes, 20);
        let mut fourth = Cause::new(Reason::Peeked, 5, 1);
        fourth.call_site = Some(at(9));
        merge(&mut rows, &[fourth, Cause::new(Reason::NoPipe, 7, 2)], 3);
        assert_eq!(
            rows,
            [Cause::new(Reason::Peeked, 45, 5), Cause::new(Reason::NoPipe, 7, 2)]
        );
    }

    #[test]
    fn a_place_shows_what_is_known_of_it() {
        let mut place = at(88);
        assert_eq!(place.to_string(), "src/a.rs:88");
        place.file.clear();
        assert_eq!(place.to_string(), "?");
        place.function = Some("SSL_write".to_owned());
        place.object = Some("libssl.so.3".to_owned());
        assert_eq!(place.to_string(), "SSL_write (libssl.so.3)");
    }

    #[test]
    fn only_zc_and_two_to_four_digits_is_a_code() {
        for (code, good) in [
            ("ZC03", true),
            ("ZC1234", true),
            ("ZC1", false),
            ("zc03", false),
            ("ZC12345", false),
            ("ZCxx", false),
        ] {
            assert_eq!(ReasonCode::new(code).is_well_formed(), good, "{code}");
        }
    }
}
