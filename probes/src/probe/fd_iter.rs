//! Snapshot of open files: the kernel passes each open descriptor of each process to a program
//! (`iter/task_file`, Linux 5.8).

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::thread::JoinHandle;

use aya::programs::{Iter, ProgramError};
use aya::{Btf, BtfError, Ebpf};

use super::error::{SetupError, SetupErrorKind};

/// Name of the program in the object.
pub(super) const PROGRAM_NAME: &str = "task_file";

/// Limit on requests by the program to see a descriptor again. A pipe of 1024 slots needs 64 of
/// them, so the limit only ends a loop that should not exist.
const MAX_RETRIES: usize = 1 << 20;

/// The kernel's types in aya's own form, which loading an iterator requires. A background thread
/// parses them while the other programs are loaded.
pub(super) struct IterBtf(JoinHandle<Result<Btf, BtfError>>);

impl IterBtf {
    pub(super) fn parse_in_background() -> Self {
        Self(std::thread::spawn(Btf::from_sys_fs))
    }
}

/// Loads the program and opens the iteration, which starts with the first read.
pub(super) fn open(ebpf: &mut Ebpf, types: IterBtf) -> Result<File, SetupError> {
    let read = types.0.join();
    let read = read.map_err(|_| SetupErrorKind::Other("the kernel's types could not be read".to_owned()))?;
    let btf = read.map_err(|error| SetupErrorKind::Other(error.to_string()))?;
    let program: &mut Iter = ebpf
        .program_mut(PROGRAM_NAME)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| SetupErrorKind::Other(format!("the object has no iterator {PROGRAM_NAME}")))?;
    let refused = |error: ProgramError| SetupError::refused(PROGRAM_NAME, error);
    program.load(PROGRAM_NAME, &btf).map_err(refused)?;
    let link = program.attach().map_err(refused)?;
    let link = program.take_link(link).map_err(refused)?;
    let file = link.into_file();
    file.map_err(|error| SetupErrorKind::Other(format!("{PROGRAM_NAME}: {error}")).into())
}

/// Runs the program for every descriptor of every process.
pub(super) fn run(file: &File) -> io::Result<()> {
    let mut file = file;
    let mut turns = 0;
    loop {
        match file.read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            // The program does not write to the iterator's buffer.
            Ok(_) => {}
            // The program asked to see the same descriptor again.
            Err(error) if error.kind() == ErrorKind::WouldBlock && turns < MAX_RETRIES => turns += 1,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
