//! Telling what an end is called, once.

use core::ptr::addr_of_mut;

use aya_ebpf::helpers::generated;
use zctrace_records::{COMPONENT_SIZE, EndpointName, EndpointState, MAX_COMPONENTS, endpoint_kind, name_flag, program};

use crate::emit;
use crate::maps::{LATELY, LATELY_SLOTS, SEEN, Seen};
use crate::offsets as at;
use crate::read::{self, member};

/// Writes the name of an end that was not met before.
///
/// # Safety
///
/// `name` must be valid for writes, `end` for reads.
#[inline(never)]
pub(crate) unsafe fn tell(name: *mut EndpointName, end: *const EndpointState, who: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*end).file == 0 || (*end).kind == endpoint_kind::MEMORY {
            return;
        }
        let dentry = if is_socket((*end).kind) {
            0
        } else {
            member((*end).file, &at::FILE_DENTRY)
        };
        tell_dentry(name, end, dentry, who);
    }
}

/// The same, by the dentry; 0: it has no path.
///
/// # Safety
///
/// `name` must be valid for writes, `end` for reads.
#[inline(always)]
pub(crate) unsafe fn tell_dentry(name: *mut EndpointName, end: *const EndpointState, dentry: u64, who: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let key = Seen {
            ino: (*end).ino,
            dev: (*end).dev,
            generation: (*end).generation,
        };
        let lately = LATELY.get_ptr_mut((*end).ino as u32 & (LATELY_SLOTS - 1));
        if let Some(lately) = lately {
            let same = (*lately).ino == key.ino && (*lately).dev == key.dev && (*lately).generation == key.generation;
            if same && key.ino != 0 {
                return;
            }
            read::copy(lately, &raw const key);
        }
        if SEEN.get_ptr(&key).is_some() {
            return;
        }
        let _ = SEEN.insert(&key, 1, 0);
        generated::bpf_probe_read_kernel(
            addr_of_mut!((*name).endpoint).cast(),
            size_of::<EndpointState>() as u32,
            end.cast(),
        );
        (*name).count = 0;
        (*name).flags = 0;
        // Nothing can be read at address 0: the helper fills the room with zeros.
        let room = addr_of_mut!((*name).components);
        generated::bpf_probe_read_kernel(room.cast(), (COMPONENT_SIZE * MAX_COMPONENTS) as u32, core::ptr::null());
        if dentry != 0 {
            path(name, dentry);
        }
        if who == program::TASK_FILE {
            (*name).flags |= name_flag::PREEXISTING;
        }
        emit::whole(name, EndpointName::KIND, who);
    }
}

#[inline(always)]
const fn is_socket(kind: u16) -> bool {
    kind >= endpoint_kind::TCP && kind <= endpoint_kind::SOCKET
}

/// Reads the dentries from the given one up to the root of its filesystem.
///
/// # Safety
///
/// `name` must be valid for reads and writes.
#[inline(always)]
unsafe fn path(name: *mut EndpointName, dentry: u64) {
    // SAFETY: the caller's promise; the index is below the number of components.
    unsafe {
        let mut dentry = dentry;
        let mut flags = name_flag::TRUNCATED;
        let mut index = 0;
        while index < MAX_COMPONENTS {
            let component = addr_of_mut!((*name).components)
                .cast::<u8>()
                .add(index * COMPONENT_SIZE);
            let text: u64 = member(dentry, &at::DENTRY_NAME);
            generated::bpf_probe_read_kernel_str(component.cast(), COMPONENT_SIZE as u32, text as *const _);
            (*name).count = index as u32 + 1;
            let parent: u64 = member(dentry, &at::DENTRY_PARENT);
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
