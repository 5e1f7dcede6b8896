//! Names of endpoints, each written once.

use core::ptr::addr_of_mut;

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

/// Identity of an endpoint.
#[repr(C)]
#[derive(Clone, Copy, FromZeros, Immutable, IntoBytes)]
struct NameKey {
    /// Inode number.
    ino: u64,
    /// Device number.
    dev: u32,
    /// Generation of the inode.
    generation: u32,
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
            generation: (*endpoint).generation,
        };
        let cached = NAME_CACHE.get_ptr_mut((*endpoint).ino as u32 & (NAME_CACHE_SLOTS - 1));
        if let Some(cached) = cached {
            let same = (*cached).ino == key.ino && (*cached).dev == key.dev && (*cached).generation == key.generation;
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
