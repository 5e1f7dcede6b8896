//! Header of a recording: format version, architecture, and the state at the start of the trace.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::coverage::CoverageJson;
use super::error::OpenError;
use super::layout::Layout;
use zctrace_evidence::TraceHeader;
use zctrace_evidence::{Config, PipeBufOps};
use zctrace_report::{Level, PipeLimits, Scope};

/// First bytes of every recording. The bytes after `ZCT` reveal a transfer in text mode, which
/// converts line endings.
pub const MAGIC: [u8; 8] = *b"\x89ZCT\r\n\x1a\n";

/// Format version that [`Writer`](super::Writer) writes: major and minor number.
///
/// A reader refuses a different major number. A recording with a greater minor number can contain
/// frames of unknown kinds, which a reader skips.
pub const VERSION: (u16, u16) = (1, 1);

/// Length of the binary prefix, in bytes: magic, version, length of the JSON, and a checksum of
/// both.
const PREFIX_LEN: usize = 20;
/// Maximum length of the JSON, in bytes. A reader refuses a longer header.
const MAX_JSON_LEN: u32 = 16 << 20;

/// JSON part of the header. Unknown members are skipped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FileHeader {
    /// Version of the zctrace that made the recording.
    pub(super) zctrace: String,
    /// Architecture that made the recording. Records are stored in its byte order and layout.
    arch: String,
    pub(super) layout: Layout,
    kernel: String,
    object: String,
    started_unix_ms: Option<u64>,
    #[serde(default)]
    scope: Scope,
    #[serde(default)]
    coverage: CoverageJson,
    #[serde(default)]
    pipe_limits: Option<PipeLimits>,
    #[serde(default)]
    per_syscall_ns: Option<f64>,
    slots: PipeBufOpsJson,
    mounts: BTreeMap<u32, String>,
    buffered: BTreeSet<u32>,
    /// Absent in recordings of earlier versions; then no copy is shown by the page alone.
    #[serde(default)]
    copied_on_read: BTreeSet<u32>,
    /// Absent in recordings of earlier versions; then pages can be those of another file.
    #[serde(default)]
    own_pages: BTreeSet<u32>,
    #[serde(default)]
    no_direct_io: BTreeSet<u32>,
    #[serde(default)]
    local_addresses: BTreeSet<IpAddr>,
    hash_key: u64,
    #[serde(default)]
    level: Level,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct PipeBufOpsJson {
    page_cache: u64,
    anonymous: u64,
    user: u64,
    zero: u64,
    zero_page: u64,
}

impl FileHeader {
    pub(super) fn new(trace: &TraceHeader, zctrace: &str) -> Self {
        let config = &trace.config;
        Self {
            zctrace: zctrace.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            layout: Layout::CURRENT,
            kernel: trace.kernel.clone(),
            object: trace.object.clone(),
            started_unix_ms: trace.started_unix_ms,
            scope: trace.scope.clone(),
            coverage: CoverageJson::from(&trace.coverage),
            pipe_limits: trace.pipe_limits,
            per_syscall_ns: trace.per_syscall_ns,
            slots: PipeBufOpsJson {
                page_cache: config.pipe_buf_ops.page_cache,
                anonymous: config.pipe_buf_ops.anonymous,
                user: config.pipe_buf_ops.user,
                zero: config.pipe_buf_ops.zero,
                zero_page: config.pipe_buf_ops.zero_page,
            },
            mounts: config.mounts.iter().map(|(dev, path)| (*dev, path.clone())).collect(),
            buffered: config.buffered.iter().copied().collect(),
            copied_on_read: config.copied_on_read.iter().copied().collect(),
            own_pages: config.own_pages.iter().copied().collect(),
            no_direct_io: config.no_direct_io.iter().copied().collect(),
            local_addresses: config.local_addresses.iter().copied().collect(),
            hash_key: config.hash_key,
            level: config.level.clone(),
        }
    }

    pub(super) fn trace_header(&self) -> TraceHeader {
        let ops = self.slots;
        TraceHeader {
            kernel: self.kernel.clone(),
            object: self.object.clone(),
            started_unix_ms: self.started_unix_ms,
            scope: self.scope.clone(),
            coverage: (&self.coverage).into(),
            pipe_limits: self.pipe_limits,
            per_syscall_ns: self.per_syscall_ns,
            config: Config {
                pipe_buf_ops: PipeBufOps {
                    page_cache: ops.page_cache,
                    anonymous: ops.anonymous,
                    user: ops.user,
                    zero: ops.zero,
                    zero_page: ops.zero_page,
                },
                mounts: self.mounts.iter().map(|(dev, path)| (*dev, path.clone())).collect(),
                buffered: self.buffered.iter().copied().collect(),
                copied_on_read: self.copied_on_read.iter().copied().collect(),
                own_pages: self.own_pages.iter().copied().collect(),
                no_direct_io: self.no_direct_io.iter().copied().collect(),
                local_addresses: self.local_addresses.iter().copied().collect(),
                hash_key: self.hash_key,
                level: self.level.clone(),
            },
        }
    }

    /// Returns the header as stored at the start of a file.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let mut bytes = Vec::with_capacity(PREFIX_LEN + json.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.0.to_le_bytes());
        bytes.extend_from_slice(&VERSION.1.to_le_bytes());
        bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), &json);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&json);
        Ok(bytes)
    }

    /// Reads a header and returns it with its length in bytes.
    pub(super) fn read(from: &mut impl Read) -> Result<(Self, u64), OpenError> {
        let mut prefix = [0; PREFIX_LEN];
        let len_read = read_up_to(from, &mut prefix)?;
        if len_read < MAGIC.len() || prefix[..MAGIC.len()] != MAGIC {
            return Err(OpenError::NotARecording);
        }
        let damaged = |reason: &str| OpenError::Header(reason.to_owned());
        if len_read < PREFIX_LEN {
            return Err(damaged("the file ends inside it"));
        }
        let (major, minor) = (u16_at(&prefix, 8), u16_at(&prefix, 10));
        if major != VERSION.0 {
            return Err(OpenError::Version { major, minor });
        }
        let len = u32_at(&prefix, 12);
        if len > MAX_JSON_LEN {
            return Err(damaged("its length exceeds the limit"));
        }
        let mut json = Vec::new();
        // Memory grows with the bytes that are read, so a wrong length cannot allocate much.
        from.take(u64::from(len)).read_to_end(&mut json)?;
        if json.len() < len as usize {
            return Err(damaged("the file ends inside it"));
        }
        if crc32c::crc32c_append(crc32c::crc32c(&prefix[..16]), &json) != u32_at(&prefix, 16) {
            return Err(damaged("the checksum is wrong"));
        }
        let header: Self = serde_json::from_slice(&json).map_err(|error| damaged(&error.to_string()))?;
        if header.arch != std::env::consts::ARCH {
            return Err(damaged(&format!("it was recorded on {}", header.arch)));
        }
        if !header.layout.is_valid() {
            return Err(damaged("it declares impossible lengths of records"));
        }
        Ok((header, PREFIX_LEN as u64 + u64::from(len)))
    }
}

/// Reads until `buffer` is full or the file ends, and returns the number of bytes read.
pub(super) fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len_read = 0;
    while len_read < buffer.len() {
        match from.read(&mut buffer[len_read..]) {
            Ok(0) => break,
            Ok(n) => len_read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len_read)
}

/// Returns the little-endian number in the two bytes at `at`.
///
/// Panics if the number extends beyond the end of `bytes`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Returns the little-endian number in the four bytes at `at`.
///
/// Panics if the number extends beyond the end of `bytes`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// Returns the little-endian number in the eight bytes at `at`.
///
/// Panics if the number extends beyond the end of `bytes`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
