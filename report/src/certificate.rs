//! The evidence for one flow, hop by hop: at which stations its bytes were seen, by what, and how far that goes.

use serde::{Deserialize, Serialize};

use super::endpoint::Station;
use super::open_enum::open_enum;
use super::segment::SegmentNames;
use super::tier::Tier;

open_enum! {
    /// How closely a flow was watched.
    pub enum Level {
        /// Each record was kept: every page of every call.
        Full = "full",
        /// Every byte went into sums per socket that must be equal at both stations; records of some calls were kept.
        Digest = "digest",
        /// Bytes were counted only. Nothing can be shown to have moved by counting.
        Counters = "counters",
    }
}

#[allow(clippy::derivable_impls)] // The macro writes the enum.
impl Default for Level {
    fn default() -> Self {
        Self::Full
    }
}

open_enum! {
    /// How a hop was shown, from the station before it to this one.
    pub enum ProofKind {
        /// The first station: there is none before it.
        Start = "start",
        /// The same page was seen at both stations.
        Identity = "identity",
        /// Sums over all pages were equal at both stations.
        Digest = "digest",
        /// A device read or wrote the page itself.
        Dma = "dma",
        /// The mutation oracle had shown that this pair of ends shares pages on this boot.
        Oracle = "oracle",
        /// The call hands pages over by contract; they were not seen at the station.
        Contract = "contract",
        /// The kernel's zero page or a hole stands for the bytes.
        Zero = "zero",
        /// The bytes were encrypted on the way, which makes new ones.
        Encryption = "encryption",
        /// A witness of a copy was seen.
        CopyWitness = "copy_witness",
        /// Nothing was shown.
        NotProven = "not_proven",
    }
}

impl ProofKind {
    /// Whether a moved byte may have come by this hop. A contract alone is not enough, nor is a word of a newer version.
    pub const fn supports_moved(&self) -> bool {
        matches!(
            self,
            Self::Start | Self::Identity | Self::Digest | Self::Dma | Self::Oracle | Self::Zero | Self::Encryption
        )
    }
}

open_enum! {
    /// Whether the page was held all the way, so that it cannot have been freed and used anew between two stations.
    pub enum Custody {
        /// The station took its reference before the one before it let go.
        Kept = "kept",
        /// It did not: the same page number need not be the same page.
        Broken = "broken",
        /// Not asked (the first station), or not seen.
        NotObserved = "not_observed",
    }
}

/// The evidence for one flow, or for the part of it that `bytes` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Certificate {
    /// How closely it was watched.
    pub level: Level,
    /// How far the verdict goes: the last station that was seen, in words, such as `the block layer of nvme0n1`.
    pub horizon: String,
    /// Bytes of the payload that this certificate covers.
    pub bytes: u64,
    /// The stations in the order of the path.
    #[serde(default)]
    pub hops: Vec<Hop>,
    /// The sums, at level `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Single pages in full, as examples.
    #[serde(default)]
    pub examples: Vec<PageExample>,
    /// What this does not prove, one sentence each.
    #[serde(default)]
    pub not_proved: Vec<String>,
}

impl Certificate {
    /// A certificate without hops yet.
    pub fn new(level: Level, horizon: impl Into<String>, bytes: u64) -> Self {
        Self {
            level,
            horizon: horizon.into(),
            bytes,
            hops: Vec::new(),
            digest: None,
            examples: Vec::new(),
            not_proved: Vec::new(),
        }
    }

    /// The segments that its bytes were, station by station, where programs named them.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentNames> {
        self.hops.iter().filter_map(|hop| hop.segments.as_ref())
    }

    /// Why this cannot back the word "moved" for all its bytes, in words; `None` if it can.
    ///
    /// ```
    /// use zctrace_report::{Certificate, Level};
    /// let counted = Certificate::new(Level::Counters, "the socket", 4096);
    /// assert!(counted.moved_weakness().unwrap().contains("counters"));
    /// ```
    pub fn moved_weakness(&self) -> Option<String> {
        if !matches!(self.level, Level::Full | Level::Digest) {
            return Some(format!("level {} shows no page", self.level));
        }
        if self.hops.len() < 2 {
            return Some("fewer than two stations were seen".to_owned());
        }
        for (index, hop) in self.hops.iter().enumerate() {
            let number = index + 1;
            if hop.bytes != self.bytes {
                return Some(format!(
                    "station {number} was seen with {} of {} bytes",
                    hop.bytes, self.bytes
                ));
            }
            if hop.custody == Custody::Broken {
                return Some(format!("custody is broken at station {number}"));
            }
            if !hop.proof.supports_moved() || (index > 0 && hop.proof == ProofKind::Start) {
                return Some(format!("station {number} was reached by `{}`", hop.proof));
            }
        }
        match (&self.level, &self.digest) {
            (Level::Digest, None) => Some("level digest without its sums".to_owned()),
            (_, Some(digest)) if digest.equal != digest.checkpoints => Some(format!(
                "the sums were equal at {} of {} checkpoints",
                digest.equal, digest.checkpoints
            )),
            (Level::Digest, Some(digest)) if digest.checkpoints == 0 => Some("no sums were compared".to_owned()),
            _ => None,
        }
    }
}

/// One station of a certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hop {
    /// The station.
    pub station: Station,
    /// The fact that showed it, by the kernel's name where it has one, such as `net_dev_start_xmit`.
    pub observed_by: String,
    /// The tier of that fact.
    pub tier: Tier,
    /// How the bytes were shown to have come here from the station before.
    pub proof: ProofKind,
    /// Calls, packets or requests in which they were seen; 0 if that is not counted here.
    #[serde(default)]
    pub calls: u64,
    /// Bytes seen here. Each byte of a stream counts once, however often it was sent again.
    pub bytes: u64,
    /// Pages of 4096 bytes that held them; 0 if pages were not seen.
    #[serde(default)]
    pub pages: u64,
    /// Whether the pages were held all the way from the station before.
    pub custody: Custody,
    /// At a pipe of a program with a journal: which of its segments the bytes were. Names only: no verdict rests on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<SegmentNames>,
}

impl Hop {
    /// A station at which `bytes` were seen. Calls and pages are 0, custody is not seen.
    pub fn new(station: Station, observed_by: impl Into<String>, tier: Tier, proof: ProofKind, bytes: u64) -> Self {
        Self {
            station,
            observed_by: observed_by.into(),
            tier,
            proof,
            calls: 0,
            bytes,
            pages: 0,
            custody: Custody::NotObserved,
            segments: None,
        }
    }
}

/// The sums of level `digest`: per socket, of length × mix(page − stream byte), which must be equal at both stations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Digest {
    /// Checkpoints at which sums were compared.
    pub checkpoints: u64,
    /// Checkpoints at which they were equal.
    pub equal: u64,
    /// Bytes of stream between two checkpoints.
    pub interval_bytes: u64,
    /// Full records were kept of one call in this many; 0 if of none.
    #[serde(default)]
    pub full_records_one_in: u64,
}

/// One page, followed through all stations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PageExample {
    /// Offset in the flow's payload, in bytes.
    pub offset: u64,
    /// Bytes of the page that belong to the flow from there on.
    pub len: u64,
    /// The page's name: hashed per run, unless real addresses were asked for.
    pub page: String,
    /// What held it at each station, in the order of the hops, such as `slot 7 of pipe 90124`.
    #[serde(default)]
    pub held_by: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endpoint, EndpointKind, StationKind};

    fn good() -> Certificate {
        let mut certificate = Certificate::new(Level::Digest, "eth0", 8192);
        for (kind, proof) in [
            (StationKind::PageCache, ProofKind::Start),
            (StationKind::SkbFrag, ProofKind::Digest),
        ] {
            let station = Station::new(kind, Endpoint::new(EndpointKind::File, "a"));
            certificate.hops.push(Hop::new(station, "x", Tier::T0, proof, 8192));
        }
        certificate.digest = Some(Digest {
            checkpoints: 3,
            equal: 3,
            interval_bytes: 1 << 20,
            full_records_one_in: 16,
        });
        certificate
    }

    type Plant = fn(&mut Certificate);

    #[test]
    fn each_weakness_is_named() {
        assert_eq!(good().moved_weakness(), None);
        let plants: [(&str, Plant); 9] = [
            ("level counters", |c| c.level = Level::Counters),
            ("level new", |c| c.level = Level::Other("new".to_owned())),
            ("fewer than two", |c| c.hops.truncate(1)),
            ("station 2 was seen with 8191 of 8192", |c| c.hops[1].bytes -= 1),
            ("custody is broken at station 2", |c| {
                c.hops[1].custody = Custody::Broken;
            }),
            ("station 2 was reached by `contract`", |c| {
                c.hops[1].proof = ProofKind::Contract;
            }),
            ("station 2 was reached by `start`", |c| {
                c.hops[1].proof = ProofKind::Start;
            }),
            ("without its sums", |c| c.digest = None),
            ("equal at 2 of 3", |c| c.digest.as_mut().unwrap().equal = 2),
        ];
        for (says, plant) in plants {
            let mut certificate = good();
            plant(&mut certificate);
            let why = certificate.moved_weakness().expect(says);
            assert!(why.contains(says), "{why} should say {says}");
        }
    }
}
