//! Evidence for one flow, hop by hop: the stations at which probes observed its bytes, the proof of
//! each hop, and the limits of that proof.

use serde::{Deserialize, Serialize};

use super::endpoint::Station;
use super::open_enum::open_enum;
use super::segment::SegmentNames;
use super::tier::Tier;

open_enum! {
    /// Level of detail at which a flow was observed.
    pub enum Level {
        /// Every record was kept, with every page of every call.
        Full = "full",
        /// Every page of every send was added to a digest per connection, and the digests of two
        /// stations must be equal. Records of some calls were kept.
        Digest = "digest",
        /// Only bytes were counted. Counting cannot prove that bytes moved.
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
    /// Proof that the bytes of a station came from the station before it.
    pub enum ProofKind {
        /// First station of the path. It has no station before it.
        Start = "start",
        /// Probes observed the same page at both stations.
        Identity = "identity",
        /// The digests over all pages were equal at both stations.
        Digest = "digest",
        /// A device read or wrote the page by DMA.
        Dma = "dma",
        /// The mutation oracle showed on this boot that this pair of endpoints shares pages.
        Oracle = "oracle",
        /// The call passes pages on by contract, but no probe observed them at the station.
        Contract = "contract",
        /// The kernel's zero page or a hole represents the bytes.
        Zero = "zero",
        /// The kernel encrypted the bytes on the way, which produces other bytes in other pages.
        Encryption = "encryption",
        /// A probe observed a witness of a copy.
        CopyWitness = "copy_witness",
        /// No observation proves the hop.
        NotProven = "not_proven",
    }
}

impl ProofKind {
    /// Returns whether this proof supports *moved*. A contract alone does not, and neither does a
    /// proof that a newer version defines.
    pub const fn supports_moved(&self) -> bool {
        matches!(
            self,
            Self::Start | Self::Identity | Self::Digest | Self::Dma | Self::Oracle | Self::Zero | Self::Encryption
        )
    }

    /// Returns whether this proof compares page addresses. Equal addresses prove the same page only
    /// if the page was held between the two stations.
    pub const fn compares_pages(&self) -> bool {
        matches!(self, Self::Identity | Self::Digest | Self::Dma)
    }
}

open_enum! {
    /// Chain of page references between two stations. A page that one of them holds at any time
    /// cannot be freed and reused.
    pub enum Custody {
        /// A probe observed that each holder took its reference before the holder before it dropped
        /// its own.
        Kept = "kept",
        /// Custody was not observed. It follows from the axiom about page references (A21 in
        /// `docs/evidence.md`).
        Assumed = "assumed",
        /// A probe observed that a holder dropped its reference before the next one took its own,
        /// so an equal page address does not prove the same page.
        Broken = "broken",
        /// Custody was neither observed nor does it follow from an axiom, or this is the first
        /// station.
        NotObserved = "not_observed",
    }
}

/// Evidence for one flow, or for `bytes` bytes of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Certificate {
    /// Level of detail at which the bytes were observed.
    pub level: Level,
    /// Last station that was observed, in words, such as `the block layer of nvme0n1`. The
    /// certificate claims nothing below it.
    pub horizon: String,
    /// Bytes of the payload that the certificate covers.
    pub bytes: u64,
    /// Stations in the order of the path.
    #[serde(default)]
    pub hops: Vec<Hop>,
    /// Comparison of digests, at level `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Single pages with their holder at each station, as examples.
    #[serde(default)]
    pub examples: Vec<PageExample>,
    /// Limits of the certificate: what it does not prove, in one sentence each.
    #[serde(default)]
    pub not_proved: Vec<String>,
}

impl Certificate {
    /// Creates a certificate without hops.
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

    /// Iterates over the segment names of the stations at which programs named their segments.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentNames> {
        self.hops.iter().filter_map(|hop| hop.segments.as_ref())
    }

    /// Returns, in words, why the certificate does not prove *moved* for all its bytes. Returns
    /// `None` if it does.
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
            let is_held = matches!(hop.custody, Custody::Kept | Custody::Assumed);
            if index > 0 && hop.proof.compares_pages() && !is_held {
                return Some(format!("custody is `{}` at station {number}", hop.custody));
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

/// One station of a certificate, with the proof of the hop that leads to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hop {
    /// Station at which the bytes were observed.
    pub station: Station,
    /// Probe that observed the bytes, by the kernel's name if it has one, such as
    /// `net_dev_start_xmit`.
    pub observed_by: String,
    /// Tier of the probe.
    pub tier: Tier,
    /// Proof that the bytes came from the station before.
    pub proof: ProofKind,
    /// Calls, packets or requests that carried the bytes; 0 if they are not counted at this
    /// station.
    #[serde(default)]
    pub calls: u64,
    /// Bytes observed at this station. A byte of a stream counts once, even if it was
    /// retransmitted.
    pub bytes: u64,
    /// Pages of 4096 bytes that held the bytes; 0 if no pages were observed.
    #[serde(default)]
    pub pages: u64,
    /// Custody of the pages since the station before.
    pub custody: Custody,
    /// Segments to which the bytes belonged, at a pipe of a program with a journal. Segments are
    /// names only, and no verdict depends on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<SegmentNames>,
}

impl Hop {
    /// Creates a hop to a station at which `bytes` bytes were observed. Calls and pages are 0, and
    /// custody is not observed.
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

    /// Returns whether custody between `before` and this hop follows from the axiom about page
    /// references (A21 in `docs/evidence.md`).
    ///
    /// The axiom covers hops into pipe slots, fragments and requests, because the kernel takes a
    /// reference for them inside the call, or the call waits for the device. It covers DMA into any
    /// page, because the call holds the page until the device is done.
    pub const fn is_custody_axiomatic(&self, before: &Self) -> bool {
        let takes_reference = self.station.kind.takes_reference() || matches!(self.proof, ProofKind::Dma);
        before.station.kind.has_pages() && takes_reference
    }
}

/// Comparison of the digests of level `digest`.
///
/// The digest of a connection is the sum of length × mix(page − stream byte) over its page ranges.
/// It must be equal at both stations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Digest {
    /// Checkpoints at which digests were compared.
    pub checkpoints: u64,
    /// Checkpoints at which the digests were equal.
    pub equal: u64,
    /// Bytes of the stream between two checkpoints.
    pub interval_bytes: u64,
    /// Interval, in calls, at which full records were kept: one call in this many; 0 if none were
    /// kept.
    #[serde(default)]
    pub full_records_one_in: u64,
}

/// One page and its holder at every station.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PageExample {
    /// Offset of the page's first byte in the flow's payload, in bytes.
    pub offset: u64,
    /// Bytes of the page that belong to the flow, starting at `offset`.
    pub len: u64,
    /// Name of the page: a hash that differs in each run, or the address if real addresses were
    /// requested.
    pub page: String,
    /// Holder of the page at each station, in the order of the hops, such as `slot 7 of pipe
    /// 90124`.
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
        certificate.hops[1].custody = Custody::Assumed;
        certificate.digest = Some(Digest {
            checkpoints: 3,
            equal: 3,
            interval_bytes: 1 << 20,
            full_records_one_in: 16,
        });
        certificate
    }

    #[test]
    fn custody_follows_from_the_axiom_only_where_the_kernel_takes_a_reference() {
        let hop = |kind: StationKind, proof| {
            let station = Station::new(kind, Endpoint::new(EndpointKind::File, "a"));
            Hop::new(station, "x", Tier::T0, proof, 1)
        };
        for (before, after, proof, holds) in [
            (StationKind::PageCache, StationKind::PipeSlot, ProofKind::Identity, true),
            (StationKind::PipeSlot, StationKind::SkbFrag, ProofKind::Digest, true),
            (StationKind::SkbFrag, StationKind::PipeSlot, ProofKind::Identity, true),
            (StationKind::PipeSlot, StationKind::BioVec, ProofKind::Dma, true),
            (StationKind::BioVec, StationKind::UserPage, ProofKind::Dma, true),
            (
                StationKind::PageCache,
                StationKind::UserPage,
                ProofKind::Identity,
                false,
            ),
            (
                StationKind::PipeSlot,
                StationKind::PageCache,
                ProofKind::Identity,
                false,
            ),
            (StationKind::Library, StationKind::PipeSlot, ProofKind::Identity, false),
            (StationKind::PipeSlot, "ring_cell".into(), ProofKind::Identity, false),
        ] {
            let (before, after) = (hop(before, ProofKind::Start), hop(after, proof));
            assert_eq!(after.is_custody_axiomatic(&before), holds, "{before:?} {after:?}");
        }
    }

    type Plant = fn(&mut Certificate);

    #[test]
    fn each_weakness_is_named() {
        assert_eq!(good().moved_weakness(), None);
        let plants: [(&str, Plant); 11] = [
            ("level counters", |c| c.level = Level::Counters),
            ("level new", |c| c.level = Level::Other("new".to_owned())),
            ("fewer than two", |c| c.hops.truncate(1)),
            ("station 2 was seen with 8191 of 8192", |c| c.hops[1].bytes -= 1),
            ("custody is broken at station 2", |c| {
                c.hops[1].custody = Custody::Broken;
            }),
            ("custody is `not_observed` at station 2", |c| {
                c.hops[1].custody = Custody::NotObserved;
            }),
            ("custody is `sealed` at station 2", |c| {
                c.hops[1].custody = Custody::Other("sealed".to_owned());
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
