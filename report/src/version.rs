//! Version of a report, and reading and writing of reports.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Report;

/// Prefix of the version in the field `schema`.
const NAME: &str = "zctrace-report";

/// Version of a report: `zctrace-report/MAJOR.MINOR` in JSON.
///
/// **A higher minor version only adds**: optional members, words of open enums, reason codes, and
/// byte counts in `excluded`. So any 1.x reader reads any other 1.x report. A reader skips or keeps
/// what it does not know, and uses defaults for missing members. Any other change raises the major
/// version, and a reader rejects a major version other than its own. The numbers on which verdicts
/// depend (payload, accounts, losses) have no default in any version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SchemaVersion {
    /// Major version. Readers of another major version reject the report.
    pub major: u32,
    /// Minor version. Readers of any minor version with the same major version accept the report.
    pub minor: u32,
}

impl SchemaVersion {
    /// Version that this crate writes.
    pub const CURRENT: Self = Self { major: 1, minor: 0 };

    /// Returns whether this crate reads reports of this version.
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

    /// Parses `zctrace-report/1.0`. `zctrace-report/1` is equivalent.
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

/// Writes this crate's own version, because a report that was read is written with only the members
/// that this crate defines.
#[allow(clippy::trivially_copy_pass_by_ref)] // The signature that serde asks for.
pub(crate) fn write_current<S: Serializer>(_: &SchemaVersion, serializer: S) -> Result<S::Ok, S::Error> {
    SchemaVersion::CURRENT.serialize(serializer)
}

/// Reason why a report could not be read. Its text names the cause and a hint.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// Reading the bytes failed.
    Io(io::Error),
    /// The bytes are not JSON, or a member is missing or of the wrong type.
    Json(serde_json::Error),
    /// The bytes are JSON, but the field `schema` is missing or names another format.
    NotAReport {
        /// Value of `schema`, if it is present.
        schema: Option<String>,
    },
    /// The report has a major version that this crate does not read.
    OtherMajor {
        /// Version of the report.
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

/// First field to be read. With it, a report of another major version is rejected because of its
/// version, and not because one of its members differs.
#[derive(Deserialize)]
struct Head {
    schema: Option<String>,
}

impl Report {
    /// Reads a report of any minor version of this major version.
    ///
    /// The report is not checked for consistency; call `check` for that.
    ///
    /// # Errors
    /// Fails if the text is not JSON, not a report, of another major version, or if a number on
    /// which a verdict depends is missing.
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

    /// Reads a report from `reader`, up to its end.
    ///
    /// # Errors
    /// Fails like `from_json`, and if reading fails.
    pub fn from_reader(mut reader: impl Read) -> Result<Self, ReadError> {
        let mut json = String::new();
        reader.read_to_string(&mut json).map_err(ReadError::Io)?;
        Self::from_json(&json)
    }

    /// Returns the report as JSON on one line without a newline, as `--every` writes it.
    ///
    /// # Panics
    /// Never: a report has only string keys.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report has only string keys")
    }

    /// Returns the report as indented JSON that ends in a newline.
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
