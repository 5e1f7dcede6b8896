//! Reads a kernel's types: from the running kernel, from a BTF file, or from a kernel image.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::elf::Elf;
use crate::vm;

/// BTF of the running kernel.
const RUNNING: &str = "/sys/kernel/btf/vmlinux";

/// A kernel's types.
pub(super) struct Source {
    /// Release, without the build information.
    pub(super) version: String,
    pub(super) btf: Vec<u8>,
}

/// Returns the types of a source: `running`, a line of Debian's kernels such as `6.12`, or a file.
pub(super) fn get(name: &str, folder: &Path) -> Result<Source, Failure> {
    if name == "running" {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let version = release.split('-').next().unwrap_or_default().trim().to_owned();
        let btf = read(Path::new(RUNNING))?;
        return Ok(Source { version, btf });
    }
    let path = Path::new(name);
    if path.is_file() {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        // The name of the image contains the version: vmlinuz-6.12.9-amd64.
        let version = file_name
            .strip_prefix("vmlinuz-")
            .or_else(|| file_name.strip_prefix("vmlinux-"));
        let version = version.unwrap_or(&file_name).to_owned();
        let btf = types_of(&read(path)?, path, folder)?;
        return Ok(Source { version, btf });
    }
    let (version, image) = vm::kernel_image(name, folder).map_err(|why| {
        Failure::Broken(format!(
            "{name} is neither `running` nor a file, and as a line of kernels: {why}"
        ))
    })?;
    let btf = types_of(&read(&image)?, &image, folder)?;
    Ok(Source { version, btf })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::Broken(format!("{}: {error}", path.display())))
}

/// Returns the types in a file: a BTF blob, the section of a vmlinux, or that of the vmlinux packed
/// in an image.
fn types_of(bytes: &[u8], path: &Path, folder: &Path) -> Result<Vec<u8>, Failure> {
    let unpacked;
    let bytes = if let Some(payload) = payload(bytes) {
        unpacked = unpack(payload, folder)?;
        &unpacked[..]
    } else {
        bytes
    };
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(bytes.to_vec());
    }
    let elf = Elf::parse(bytes).map_err(|why| Failure::Broken(format!("{}: {why}", path.display())))?;
    let types = elf.section(".BTF").ok_or_else(|| {
        Failure::Broken(format!(
            "{}: this kernel has no types in it: it was built without CONFIG_DEBUG_INFO_BTF",
            path.display()
        ))
    })?;
    Ok(types.to_vec())
}

/// Returns the packed kernel of an x86 image, at the position in its header
/// (Documentation/arch/x86/boot.rst).
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let setup = (usize::from(*image.get(0x1f1)?) + 1) * 512;
    let start = setup.checked_add(word(0x248)?)?;
    image.get(start..start.checked_add(word(0x24c)?)?)
}

/// Magic bytes of each compression, the program that unpacks it, and whether the four bytes of the
/// unpacked length follow, which the program would report as damage.
const PACKERS: [(&[u8], &[&str], bool); 4] = [
    (b"\x1f\x8b", &["gzip", "-dc"], false),
    (b"\xfd7zXZ\0", &["xz", "-dc"], true),
    (b"\x28\xb5\x2f\xfd", &["zstd", "-dcq"], true),
    (b"\x02\x21\x4c\x18", &["lz4", "-dcq"], true),
];

fn unpack(payload: &[u8], folder: &Path) -> Result<Vec<u8>, Failure> {
    let known = PACKERS.iter().find(|(magic, _, _)| payload.starts_with(magic));
    let Some((_, program, has_length)) = known else {
        return Err(Failure::Broken(format!(
            "the kernel is packed in a way that is not known here: it begins with {:02x?}",
            &payload[..payload.len().min(8)]
        )));
    };
    let packed = if *has_length {
        &payload[..payload.len().saturating_sub(4)]
    } else {
        payload
    };
    // Through a file: a pipe would have to be written and read at the same time.
    let path = folder.join("payload");
    File::create(&path)?.write_all(packed)?;
    let mut command = Command::new(program[0]);
    command
        .args(&program[1..])
        .stdin(File::open(&path)?)
        .stderr(Stdio::piped());
    let output = command
        .output()
        .map_err(|error| Failure::Broken(format!("{}: {error}: install it (apt-get install {0})", program[0])))?;
    fs::remove_file(&path)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Broken(format!(
        "{} cannot unpack the kernel: {}",
        program[0],
        complaint.trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_where_the_header_says() {
        let mut image = vec![0; 2048];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x1f1] = 1;
        image[0x248] = 16;
        image[0x24c] = 3;
        image[1040..1043].copy_from_slice(b"abc");
        assert_eq!(payload(&image), Some(&b"abc"[..]));
        assert_eq!(payload(&image[..1042]), None, "cut short");
        assert_eq!(payload(b"\x7fELF"), None);
    }
}
