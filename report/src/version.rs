//! The version of a report, and reading and writing one.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Report;

/// What stands before the version in the field `schema`.
const NAME: &str = "zctrace-report";

/// The version of a report: `zctrace-report/MAJOR.MINOR` in JSON.
///
/// The rule: **a higher minor only adds** (fields that may be missing, words in word lists, reason codes, byte counts in
/// `excluded`), so any 1.x reads any other 1.x: what a reader does not know it skips or keeps as it is, what is missing has a
/// default. Whatever else changes raises the major, and a reader refuses a major that is not its own. The numbers that a
/// verdict rests on (payload, accounts, losses) have no default in any version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SchemaVersion {
    /// Readers of another major refuse the report.
    pub major: u32,
    /// Readers of any minor of the same major accept it.
    pub minor: u32,
}

impl SchemaVersion {
    /// The version that this crate writes.
    pub const CURRENT: Self = Self { major: 1, minor: 0 };

    /// Whether this crate reads reports of this version.
    pub const fn is_readable(self) -> bool {
        self.major == Self::CURRENT.major
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}/{}.{}", self.major, self.minor)
    }
}

impl FromStr for SchemaVersion {
    type Err = ReadError;

    /// Reads `zctrace-report/1.0`; `zctrace-report/1` means the same.
    fn from_str(text: &str) -> Result<Self, ReadError> {
        let number = |digits: &str| {
            digits
                .parse()
                .ok()
                .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
        };
        text.strip_prefix(NAME)
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|version| {
                let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
                Some(Self {
                    major: number(major)?,
                    minor: number(minor)?,
                })
            })
            .ok_or_else(|| ReadError::NotAReport {
                schema: Some(text.to_owned()),
            })
    }
}

impl Serialize for SchemaVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SchemaVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for SchemaVersion {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SchemaVersion".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "Name and version, `zctrace-report/MAJOR.MINOR`. A higher minor only adds.",
            "pattern": format!("^{NAME}/{}([.][0-9]+)?$", Self::CURRENT.major),
        })
    }
}

/// Whatever version was read, what is written is what this crate knows, so the version written is its own.
#[allow(clippy::trivially_copy_pass_by_ref)] // The signature that serde asks for.
pub(crate) fn write_current<S: Serializer>(_: &SchemaVersion, serializer: S) -> Result<S::Ok, S::Error> {
    SchemaVersion::CURRENT.serialize(serializer)
}

/// Why a report could not be read. Its text names the cause and the mend.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes could not be got.
    Io(io::Error),
    /// They are not JSON, or a field is missing or of the wrong type.
    Json(serde_json::Error),
    /// They are JSON, but the field `schema` is missing or is not that of a report.
    NotAReport {
        /// What `schema` says, if it is there.
        schema: Option<String>,
    },
    /// It is a report of a major version that this crate does not read.
    OtherMajor {
        /// The version of the report.
        found: SchemaVersion,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = SchemaVersion::CURRENT.major;
        match self {
            Self::Io(error) => write!(f, "the report could not be read: {error}"),
            Self::Json(error) if error.is_data() => write!(
                f,
                "this is not a whole report: {error}; make it again, or validate it against the published schema"
            ),
            Self::Json(error) => write!(f, "this is not valid JSON: {error}; was the file written to its end?"),
            Self::NotAReport { schema: None } => write!(
                f,
                "this is not a report: it has no field `schema`; give a file made by `zctrace --format json`"
            ),
            Self::NotAReport { schema: Some(schema) } => write!(
                f,
                "this is not a report: `schema` is {schema:?}, not `{NAME}/{ours}`; give a file made by `zctrace --format json`"
            ),
            Self::OtherMajor { found } => {
                let other = if found.major > ours { "a newer" } else { "an older" };
                write!(
                    f,
                    "this report is of version {}.{} ({found}), and this zctrace reads {ours}.x; read it with {other} zctrace, \
                     or make the report again with this one",
                    found.major, found.minor
                )
            }
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Json(error) => Some(error),
            Self::NotAReport { .. } | Self::OtherMajor { .. } => None,
        }
    }
}

/// Only the field that says what the rest is. Read first, so that another major is refused for its version and not for
/// whichever of its fields happens to differ.
#[derive(Deserialize)]
struct Head {
    schema: Option<String>,
}

impl Report {
    /// Reads a report of any minor of this major version.
    ///
    /// It is read, not judged: see `check`.
    ///
    /// # Errors
    /// If it is not JSON, not a report, of another major version, or if a number that a verdict rests on is missing.
    ///
    /// ```
    /// use zctrace_report::Report;
    /// let error = Report::from_json(r#"{"schema": "zctrace-report/2.0"}"#).unwrap_err();
    /// assert!(error.to_string().contains("read it with a newer zctrace"));
    /// ```
    pub fn from_json(json: &str) -> Result<Self, ReadError> {
        let head: Head = serde_json::from_str(json).map_err(ReadError::Json)?;
        let Some(schema) = head.schema else {
            return Err(ReadError::NotAReport { schema: None });
        };
        let found: SchemaVersion = schema.parse()?;
        if !found.is_readable() {
            return Err(ReadError::OtherMajor { found });
        }
        serde_json::from_str(json).map_err(ReadError::Json)
    }

    /// Reads to the end of `reader`, then as `from_json`.
    ///
    /// # Errors
    /// As `from_json`, and if reading fails.
    pub fn from_reader(mut reader: impl Read) -> Result<Self, ReadError> {
        let mut json = String::new();
        reader.read_to_string(&mut json).map_err(ReadError::Io)?;
        Self::from_json(&json)
    }

    /// The report as JSON on one line, as `--every` writes it. No newline at its end.
    ///
    /// # Panics
    /// Never: a report has only string keys.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report has only string keys")
    }

    /// The report as indented JSON, with a newline at its end.
    ///
    /// # Panics
    /// Never: a report has only string keys.
    pub fn to_json_pretty(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a report has only string keys");
        json.push('\n');
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_they_are_written_and_nothing_else_is_a_version() {
        let version = SchemaVersion { major: 1, minor: 12 };
        assert_eq!(version.to_string().parse::<SchemaVersion>().unwrap(), version);
        assert_eq!(
            "zctrace-report/1".parse::<SchemaVersion>().unwrap(),
            SchemaVersion { major: 1, minor: 0 }
        );
        for bad in [
            "",
            "1.0",
            "zctrace-report",
            "zctrace-report/",
            "zctrace-report/1.",
            "zctrace-report/+1",
            "zctrace-report/1.0.0",
            "other/1.0",
        ] {
            assert!(bad.parse::<SchemaVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_error_names_cause_and_mend() {
        let says = |json: &str| Report::from_json(json).unwrap_err().to_string();
        assert!(says("{\"schema\": \"zctr").contains("written to its end?"));
        assert!(says("{}").contains("has no field `schema`"));
        assert!(says(r#"{"schema": "sarif/2"}"#).contains("\"sarif/2\""));
        let newer = says(r#"{"schema": "zctrace-report/2.3", "flows": "not even a list"}"#);
        assert!(
            newer.contains("version 2.3") && newer.contains("reads 1.x") && newer.contains("a newer zctrace"),
            "{newer}"
        );
        assert!(says(r#"{"schema": "zctrace-report/0.9"}"#).contains("an older zctrace"));
        assert!(says(r#"{"schema": "zctrace-report/1.0"}"#).contains("not a whole report"));
    }

    #[test]
    fn bytes_that_are_not_text_are_an_error_of_reading() {
        let error = Report::from_reader(&b"\xff\xfe"[..]).unwrap_err();
        assert!(matches!(error, ReadError::Io(_)), "{error:?}");
    }
}
