//! Names of endpoints, each written once, and again when it has changed.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::helpers::generated;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{LruHashMap, PerCpuArray};
use zctrace_records::{COMPONENT_SIZE, EndpointName, EndpointState, MAX_COMPONENTS, endpoint_kind, name_flag, program};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::emit;
use crate::offsets;
use crate::read::{self, member};

/// Endpoints whose names have been written.
#[map]
static NAMED: LruHashMap<NameKey, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Endpoints that each CPU observed last, by inode number. Most lookups are answered here.
#[map]
static NAME_CACHE: PerCpuArray<NameKey> = PerCpuArray::with_max_entries(NAME_CACHE_SLOTS, 0);

/// Number of slots of [`NAME_CACHE`]. A power of two.
const NAME_CACHE_SLOTS: u32 = 64;

/// Identity of an endpoint, and of its name.
#[repr(C)]
#[derive(Clone, Copy, FromZeros, Immutable, IntoBytes)]
struct NameKey {
    /// Inode number.
    ino: u64,
    /// Device number.
    dev: u32,
    /// Generation of the inode.
    generation: u32,
    /// Value that differs between names ([`variant_of_path`], [`variant_of_addresses`]): a file can
    /// be renamed or have several, and a socket can be connected again.
    variant: u64,
}

/// Returns a value that differs between paths, from the last two components.
///
/// The kernel's hash of a name has the parent's address as its salt, and comes with the length
/// (`struct qstr`, include/linux/dcache.h: `hash_len`, the word before `name`).
#[inline(always)]
fn variant_of_path(dentry: u64) -> u64 {
    if dentry == 0 {
        return 0;
    }
    let hash_len = |dentry: u64| member::<u64>(dentry.wrapping_sub(8), &offsets::DENTRY_NAME);
    hash_len(dentry) ^ hash_len(member(dentry, &offsets::DENTRY_PARENT)).rotate_left(17)
}

/// Returns a value that differs between the addresses of a socket.
///
/// # Safety
///
/// `endpoint` must be valid for reads.
#[inline(always)]
unsafe fn variant_of_addresses(endpoint: *const EndpointState) -> u64 {
    // SAFETY: reading through `endpoint` requires a valid pointer, which the caller guarantees.
    // Every field of the pair is aligned to 4 bytes.
    unsafe {
        let pair = addr_of!((*endpoint).pair);
        let words: [u32; 4] = *addr_of!((*pair).destination).cast();
        let ports = u64::from((*pair).source_port) << 16 | u64::from((*pair).destination_port);
        ports ^ u64::from(words[0] ^ words[2]) << 32 ^ u64::from(words[3] ^ words[1].rotate_left(7))
    }
}

/// Writes the name of an endpoint that the programs have not observed before.
///
/// # Safety
///
/// `name` must be valid for writes, and `endpoint` for reads.
#[inline(never)]
pub(crate) unsafe fn emit_once(name: *mut EndpointName, endpoint: *const EndpointState, program: u32) {
    // SAFETY: access through `name` and `endpoint` requires valid pointers, which the caller
    // guarantees.
    unsafe {
        if (*endpoint).file == 0 || (*endpoint).kind == endpoint_kind::MEMORY {
            return;
        }
        let dentry = if is_socket((*endpoint).kind) {
            0
        } else {
            member((*endpoint).file, &offsets::FILE_DENTRY)
        };
        emit_dentry_once(name, endpoint, dentry, program);
    }
}

/// Writes the name of an endpoint that the programs have not observed before, read from a dentry; 0
/// means that the endpoint has no path.
///
/// # Safety
///
/// `name` must be valid for writes, and `endpoint` for reads.
#[inline(always)]
pub(crate) unsafe fn emit_dentry_once(
    name: *mut EndpointName,
    endpoint: *const EndpointState,
    dentry: u64,
    program: u32,
) {
    // SAFETY: access through `name` and `endpoint` requires valid pointers, which the caller
    // guarantees. `cached` points to a map value, which stays valid while the program runs.
    unsafe {
        let key = NameKey {
            ino: (*endpoint).ino,
            dev: (*endpoint).dev,
            generation: match (*endpoint).kind {
                // Of a TCP socket, it is the first sequence number.
                endpoint_kind::TCP => 0,
                _ => (*endpoint).generation,
            },
            variant: if is_socket((*endpoint).kind) {
                variant_of_addresses(endpoint)
            } else {
                variant_of_path(dentry)
            },
        };
        let cached = NAME_CACHE.get_ptr_mut((*endpoint).ino as u32 & (NAME_CACHE_SLOTS - 1));
        if let Some(cached) = cached {
            let same = (*cached).ino == key.ino
                && (*cached).dev == key.dev
                && (*cached).generation == key.generation
                && (*cached).variant == key.variant;
            if same && key.ino != 0 {
                return;
            }
            read::copy(cached, &raw const key);
        }
        if NAMED.get_ptr(&key).is_some() {
            return;
        }
        let _ = NAMED.insert(&key, 1, 0);
        generated::bpf_probe_read_kernel(
            addr_of_mut!((*name).endpoint).cast(),
            size_of::<EndpointState>() as u32,
            endpoint.cast(),
        );
        (*name).count = 0;
        (*name).flags = 0;
        // Reading from address 0 always fails, and the helper then fills the buffer with zeros.
        let scratch = addr_of_mut!((*name).components);
        generated::bpf_probe_read_kernel(
            scratch.cast(),
            (COMPONENT_SIZE * MAX_COMPONENTS) as u32,
            core::ptr::null(),
        );
        if dentry != 0 {
            read_path(name, dentry);
        }
        if program == program::TASK_FILE {
            (*name).flags |= name_flag::PREEXISTING;
        }
        if program == program::SYS_EXIT {
            (*name).flags |= name_flag::AT_EXIT;
        }
        if program == program::IO_URING_COMPLETE {
            (*name).flags |= name_flag::IO_URING;
        }
        emit::emit_fixed(name, program);
    }
}

#[inline(always)]
const fn is_socket(kind: u16) -> bool {
    kind >= endpoint_kind::TCP && kind <= endpoint_kind::SOCKET
}

/// Reads the names of a dentry and its parents, up to the root of the filesystem.
///
/// # Safety
///
/// `name` must be valid for reads and writes.
#[inline(always)]
unsafe fn read_path(name: *mut EndpointName, dentry: u64) {
    // SAFETY: access through `name` requires a valid pointer, which the caller guarantees. `add`
    // stays in bounds because `index` is below the number of components.
    unsafe {
        let mut dentry = dentry;
        let mut flags = name_flag::TRUNCATED;
        let mut index = 0;
        while index < MAX_COMPONENTS {
            let component = addr_of_mut!((*name).components)
                .cast::<u8>()
                .add(index * COMPONENT_SIZE);
            let text: u64 = member(dentry, &offsets::DENTRY_NAME);
            generated::bpf_probe_read_kernel_str(component.cast(), COMPONENT_SIZE as u32, text as *const _);
            (*name).count = index as u32 + 1;
            let parent: u64 = member(dentry, &offsets::DENTRY_PARENT);
            if parent == dentry || parent == 0 {
                flags = name_flag::ROOT;
                break;
            }
            dentry = parent;
            index += 1;
        }
        (*name).flags = flags;
    }
}
