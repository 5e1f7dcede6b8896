//! Obtains a kernel: the newest package of a line in the system's package sources, unpacked but not
//! installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::output;
use crate::Failure;

/// A kernel with the modules for the machine's disk.
pub(super) struct Kernel {
    /// Release, as in uname(2).
    pub(super) version: String,
    pub(super) image: PathBuf,
    /// Content of each module by file name, in loading order.
    pub(super) modules: Vec<(String, Vec<u8>)>,
}

/// Returns the newest kernel of a line such as `6.12`, or why there is none.
pub(super) fn get(line: &str, folder: &Path) -> Result<Kernel, String> {
    let words = |failure: Failure| match failure {
        Failure::Broken(why) => why,
        Failure::Found => "it cannot be had".to_owned(),
    };
    let names = output(Command::new("apt-cache").args(["pkgnames", &format!("linux-image-{line}.")])).map_err(words)?;
    let package = newest(&names).ok_or_else(|| "no package of that line (apt-get update?)".to_owned())?;
    let unpacked = folder.join("kernels").join(package);
    if !unpacked.join("boot").is_dir() {
        fetch(package, folder, &unpacked).map_err(words)?;
    }
    read(&unpacked).map_err(words)
}

/// Returns the newest of the unsigned packages for virtual machines.
fn newest(names: &str) -> Option<&str> {
    names
        .lines()
        .filter(|name| name.ends_with("-cloud-amd64-unsigned") && !name.contains("-rt-"))
        .max_by_key(|name| numbers(name))
}

/// Returns the numbers in a name, for comparison: `6.12.9` is older than `6.12.10`.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

fn fetch(package: &str, folder: &Path, unpacked: &Path) -> Result<(), Failure> {
    let debs = folder.join("debs").join(package);
    fs::create_dir_all(&debs)?;
    output(
        Command::new("apt-get")
            .args(["-qq", "download", package])
            .current_dir(&debs),
    )?;
    let deb = fs::read_dir(&debs)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Failure::Broken(format!("{package}: nothing was downloaded")))?;
    // Unpacked under a temporary name first, so that an interrupted run leaves nothing that looks
    // complete.
    let partial = unpacked.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    output(Command::new("dpkg").arg("-x").args([&deb, &partial]))?;
    let version = version(&partial)?;
    output(Command::new("depmod").arg("-b").arg(&partial).arg(&version))?;
    fs::rename(&partial, unpacked)?;
    Ok(())
}

/// Returns the version of an unpacked kernel: the name of its module directory.
fn version(unpacked: &Path) -> Result<String, Failure> {
    let modules = unpacked.join("lib/modules");
    let entry = fs::read_dir(&modules)?
        .next()
        .ok_or_else(|| Failure::Broken(format!("{} is empty", modules.display())))??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

fn read(unpacked: &Path) -> Result<Kernel, Failure> {
    let version = version(unpacked)?;
    let image = unpacked.join("boot").join(format!("vmlinuz-{version}"));
    let mut modules: Vec<(String, Vec<u8>)> = Vec::new();
    // The virtio bus is built in from 6.12 on, and a module before.
    for name in ["virtio_pci", "virtio_blk"] {
        let needed =
            output(
                Command::new("modprobe")
                    .arg("-d")
                    .arg(unpacked)
                    .args(["-S", &version, "--show-depends", name]),
            )?;
        for path in needed.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let (name, content) = module(Path::new(path.trim()))?;
            if modules.iter().all(|(known, _)| *known != name) {
                modules.push((name, content));
            }
        }
    }
    Ok(Kernel {
        version,
        image,
        modules,
    })
}

/// Decompresses a module.
fn module(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let Some(plain) = name.strip_suffix(".xz") else {
        return Ok((name, fs::read(path)?));
    };
    let unpacked = Command::new("xz").arg("-dc").arg(path).output()?;
    if !unpacked.status.success() {
        return Err(Failure::Broken(format!("xz cannot unpack {}", path.display())));
    }
    Ok((plain.to_owned(), unpacked.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_is_found_by_its_numbers() {
        let names = "linux-image-6.12.9+deb12-cloud-amd64-unsigned\nlinux-image-6.12.10+deb12-cloud-amd64-unsigned\n\
                     linux-image-6.12.10+deb12-rt-amd64-unsigned\nlinux-image-6.12.99+deb12-amd64-unsigned\n";
        assert_eq!(newest(names), Some("linux-image-6.12.10+deb12-cloud-amd64-unsigned"));
        assert_eq!(newest("linux-image-6.12.10-dbg\n"), None);
    }
}
