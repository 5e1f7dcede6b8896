//! What zctrace and the child that will become the command say to each other, over a socket that keeps messages apart.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, send, sendmsg, shutdown, socketpair,
};

/// The longest message: a path and a word.
const MOST: usize = 8192;

/// What the child says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// It is the right user, and this is the command. It waits.
    Ready {
        /// The file.
        path: OsString,
        /// Whether it was found where PATH does not lead.
        beyond_path: bool,
    },
    /// The command cannot be run.
    NotRunnable {
        /// What a shell would exit with: 126 or 127.
        code: u8,
        /// Why, as a sentence.
        why: String,
    },
}

/// Two ends: the first stays, the second is the child's. Both are closed when a program is executed.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// zctrace: gives the child the standard input that the command is to have, and what it is to announce.
pub(crate) fn give_stdin(control: &OwnedFd, stdin: BorrowedFd<'_>, cookie: u64) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let fds = [stdin];
    if !rights.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::NOBUFS.into());
    }
    sendmsg(
        control,
        &[IoSlice::new(&cookie.to_ne_bytes())],
        &mut rights,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// The child: takes both. Whatever else is at the other end is an error.
pub(crate) fn take_stdin(control: &OwnedFd) -> io::Result<(OwnedFd, u64)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut cookie = [0; 8];
    let got = recvmsg(
        control,
        &mut [IoSliceMut::new(&mut cookie)],
        &mut rights,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
            && got.bytes == cookie.len()
        {
            return Ok((fd, u64::from_ne_bytes(cookie)));
        }
    }
    Err(Errno::BADMSG.into())
}

/// The child: says something. If nobody listens any more, nobody needs to know.
pub(crate) fn say(control: &OwnedFd, said: &Said) {
    let mut message = match said {
        Said::Ready { path, beyond_path } => [&[b'R', u8::from(*beyond_path)], path.as_bytes()].concat(),
        Said::NotRunnable { code, why } => [&[b'N', *code], why.as_bytes()].concat(),
    };
    message.truncate(MOST);
    let _ = retry_on_intr(|| send(control, &message, SendFlags::NOSIGNAL));
}

/// zctrace: what the child says next. `None` if it says nothing more: it is executing the command, or is gone.
pub(crate) fn hear(control: &OwnedFd) -> io::Result<Option<Said>> {
    let mut buffer = vec![0; MOST];
    let got = retry_on_intr(|| rustix::net::recv(control, buffer.as_mut_slice(), RecvFlags::empty()));
    let got = match got {
        Ok((_, got)) => got,
        Err(Errno::CONNRESET) => 0,
        Err(errno) => return Err(errno.into()),
    };
    buffer.truncate(got);
    match buffer.as_slice() {
        [] => Ok(None),
        [b'R', beyond_path, path @ ..] => Ok(Some(Said::Ready {
            path: OsString::from_vec(path.to_vec()),
            beyond_path: *beyond_path != 0,
        })),
        [b'N', code, why @ ..] => Ok(Some(Said::NotRunnable {
            code: *code,
            why: String::from_utf8_lossy(why).into_owned(),
        })),
        _ => Err(Errno::BADMSG.into()),
    }
}

/// zctrace: the child may go. What it hears is the end of what is said, so that it need not read anything.
pub(crate) fn go(control: &OwnedFd) -> io::Result<()> {
    Ok(shutdown(control, Shutdown::Write)?)
}

/// The child: waits for that. `false` if zctrace is gone instead.
pub(crate) fn wait_to_go(control: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(control.as_fd(), PollFlags::RDHUP)];
    retry_on_intr(|| poll(&mut fds, None))?;
    // A socket that is closed is shut both ways; one that is only shut for writing has not hung up.
    Ok(!fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_the_end_is_heard_as_such() {
        let (ours, childs) = pair().unwrap();
        for said in [
            Said::Ready {
                path: OsString::from_vec(b"/bin/\xff".to_vec()),
                beyond_path: true,
            },
            Said::NotRunnable {
                code: 126,
                why: "no".to_owned(),
            },
        ] {
            say(&childs, &said);
            assert_eq!(hear(&ours).unwrap(), Some(said));
        }
        drop(childs);
        assert_eq!(hear(&ours).unwrap(), None);
    }

    #[test]
    fn to_go_is_not_to_be_gone() {
        let (ours, childs) = pair().unwrap();
        go(&ours).unwrap();
        assert!(wait_to_go(&childs).unwrap());
        drop(ours);
        assert!(!wait_to_go(&childs).unwrap());
    }

    #[test]
    fn a_standard_input_is_handed_over() {
        let (ours, childs) = pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        give_stdin(&ours, null.as_fd(), 0x1234_5678_9abc_def0).unwrap();
        let (given, cookie) = take_stdin(&childs).unwrap();
        assert_eq!(cookie, 0x1234_5678_9abc_def0);
        let of = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_rdev;
        assert_eq!(of(given.as_fd()), of(null.as_fd()));
        drop(ours);
        assert!(take_stdin(&childs).is_err());
    }
}
