//! Enums of words that accept the words of newer versions.
//!
//! With a closed enum, an older zctrace would reject a whole report because of one new kind of
//! socket. An open enum keeps an unknown word and writes it unchanged.

/// Defines an enum of words, with `Other(String)` for words that newer versions define.
macro_rules! open_enum {
    (
        $(#[doc = $doc:literal])*
        $(#[derive($($extra:ident),*)])?
        pub enum $name:ident {
            $( $(#[doc = $word_doc:literal])* $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum $name {
            $( $(#[doc = $word_doc])* #[doc = concat!("\n\nIn JSON `\"", $word, "\"`.")] $variant, )+
            /// A word that a newer version defines, kept as it was read.
            Other(String),
        }

        impl $name {
            /// Words that this version defines, in the order of the variants.
            pub const KNOWN: &'static [&'static str] = &[$($word),+];

            /// Returns the word as it is written in JSON.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $word, )+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $( $word => Self::$variant, )+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Ok(Self::from(word.as_ref()))
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::schema::open_enum(
                    &[$($doc),*],
                    &[$( ($word, &[$($word_doc),*]) ),+],
                )
            }
        }
    };
}

pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    use crate::{EndpointKind, Level, Tier};

    #[test]
    fn each_known_word_reads_as_its_variant_and_writes_as_itself() {
        for word in EndpointKind::KNOWN {
            let kind: EndpointKind = serde_json::from_str(&format!("\"{word}\"")).unwrap();
            assert!(!matches!(kind, EndpointKind::Other(_)), "{word}");
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{word}\""));
        }
    }

    #[test]
    fn a_word_of_a_newer_version_is_kept_and_escapes_are_understood() {
        let level: Level = serde_json::from_str(r#""quantum\u0020level""#).unwrap();
        assert_eq!(level, Level::Other("quantum level".to_owned()));
        assert_eq!(serde_json::to_string(&level).unwrap(), r#""quantum level""#);
        assert!(serde_json::from_str::<Tier>("7").is_err());
    }
}
