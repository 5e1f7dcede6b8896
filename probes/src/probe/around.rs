//! Looking around: what traced processes have open when watching begins, shown by the kernel one descriptor after the other
//! (`iter/task_file`, Linux 5.8).

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::thread::JoinHandle;

use aya::programs::{Iter, ProgramError};
use aya::{Btf, BtfError, Ebpf};

use super::error::{SetupError, SetupErrorKind};

/// The program's name.
pub(super) const NAME: &str = "task_file";

/// How often the program may ask to be shown a descriptor again, in all: a pipe of 1024 slots takes 64 turns, so this is for
/// what should never be.
const TURNS: usize = 1 << 20;

/// The kernel's types in aya's own form, which its loader of iterators wants: read by a thread of its own, while the other
/// programs are loaded.
pub(super) struct Types(JoinHandle<Result<Btf, BtfError>>);

impl Types {
    pub(super) fn read() -> Self {
        Self(std::thread::spawn(Btf::from_sys_fs))
    }
}

/// Loads the program, and opens the iteration. Nothing is shown before it is read.
pub(super) fn load(ebpf: &mut Ebpf, types: Types) -> Result<File, SetupError> {
    let read = types.0.join();
    let read = read.map_err(|_| SetupErrorKind::Other("the kernel's types could not be read".to_owned()))?;
    let btf = read.map_err(|error| SetupErrorKind::Other(error.to_string()))?;
    let program: &mut Iter = ebpf
        .program_mut(NAME)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| SetupErrorKind::Other(format!("the object has no iterator {NAME}")))?;
    let refused = |error: ProgramError| SetupError::refused(NAME, error);
    program.load(NAME, &btf).map_err(refused)?;
    let link = program.attach().map_err(refused)?;
    let link = program.take_link(link).map_err(refused)?;
    let file = link.into_file();
    file.map_err(|error| SetupErrorKind::Other(format!("{NAME}: {error}")).into())
}

/// Goes through all descriptors of all processes.
pub(super) fn read(file: &File) -> io::Result<()> {
    let mut file = file;
    let mut turns = 0;
    loop {
        match file.read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            // The program writes nothing here.
            Ok(_) => {}
            // It asked to be shown the same descriptor again.
            Err(error) if error.kind() == ErrorKind::WouldBlock && turns < TURNS => turns += 1,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
