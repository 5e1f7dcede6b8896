//! Handshake between zctrace and the child that becomes the command, over a `SOCK_SEQPACKET` pair.

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

/// Size limit of a message, in bytes: a path and a tag.
const MAX_MESSAGE: usize = 8192;

/// Message from the child.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ChildMessage {
    /// The child has switched to its user, has found the program, and waits.
    Ready {
        /// Path of the program.
        path: OsString,
        /// `true` if the program was found outside of PATH.
        outside_path: bool,
    },
    /// The command cannot be run.
    Failed {
        /// Exit code of a shell in this case: 126 or 127.
        code: u8,
        /// Reason, as a sentence.
        reason: String,
    },
}

/// Creates the socket pair. The first socket is zctrace's and the second one the child's. Both are
/// closed by execve(2).
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends the child the standard input of the command, and the cookie to announce. Called by
/// zctrace.
pub(crate) fn send_stdin(control: &OwnedFd, stdin: BorrowedFd<'_>, cookie: u64) -> io::Result<()> {
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

/// Receives what [`send_stdin`] sent. Called by the child.
pub(crate) fn receive_stdin(control: &OwnedFd) -> io::Result<(OwnedFd, u64)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut cookie = [0; 8];
    let received = recvmsg(
        control,
        &mut [IoSliceMut::new(&mut cookie)],
        &mut rights,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
            && received.bytes == cookie.len()
        {
            return Ok((fd, u64::from_ne_bytes(cookie)));
        }
    }
    Err(Errno::BADMSG.into())
}

/// Sends a message. Called by the child, which ignores an error because zctrace is then gone.
pub(crate) fn send_message(control: &OwnedFd, message: &ChildMessage) {
    let mut bytes = match message {
        ChildMessage::Ready { path, outside_path } => [&[b'R', u8::from(*outside_path)], path.as_bytes()].concat(),
        ChildMessage::Failed { code, reason } => [&[b'N', *code], reason.as_bytes()].concat(),
    };
    bytes.truncate(MAX_MESSAGE);
    let _ = retry_on_intr(|| send(control, &bytes, SendFlags::NOSIGNAL));
}

/// Receives the child's next message. Called by zctrace. Returns `None` at the end of the stream:
/// the child has executed the command, or is gone.
pub(crate) fn receive_message(control: &OwnedFd) -> io::Result<Option<ChildMessage>> {
    let mut buffer = vec![0; MAX_MESSAGE];
    let got = retry_on_intr(|| rustix::net::recv(control, buffer.as_mut_slice(), RecvFlags::empty()));
    let got = match got {
        Ok((_, got)) => got,
        Err(Errno::CONNRESET) => 0,
        Err(errno) => return Err(errno.into()),
    };
    buffer.truncate(got);
    match buffer.as_slice() {
        [] => Ok(None),
        [b'R', outside_path, path @ ..] => Ok(Some(ChildMessage::Ready {
            path: OsString::from_vec(path.to_vec()),
            outside_path: *outside_path != 0,
        })),
        [b'N', code, reason @ ..] => Ok(Some(ChildMessage::Failed {
            code: *code,
            reason: String::from_utf8_lossy(reason).into_owned(),
        })),
        _ => Err(Errno::BADMSG.into()),
    }
}

/// Lets the child execute the command. Called by zctrace. The signal is the end of the stream, so
/// that the child need not read anything.
pub(crate) fn release(control: &OwnedFd) -> io::Result<()> {
    Ok(shutdown(control, Shutdown::Write)?)
}

/// Waits for [`release`]. Called by the child. Returns `false` if zctrace is gone instead.
pub(crate) fn wait_for_release(control: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(control.as_fd(), PollFlags::RDHUP)];
    retry_on_intr(|| poll(&mut fds, None))?;
    // A peer that closed its socket has shut down both directions (POLLHUP); `release` shuts down
    // only one.
    Ok(!fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_the_end_of_the_stream_are_received() {
        let (parent, child) = socket_pair().unwrap();
        for message in [
            ChildMessage::Ready {
                path: OsString::from_vec(b"/bin/\xff".to_vec()),
                outside_path: true,
            },
            ChildMessage::Failed {
                code: 126,
                reason: "no".to_owned(),
            },
        ] {
            send_message(&child, &message);
            assert_eq!(receive_message(&parent).unwrap(), Some(message));
        }
        drop(child);
        assert_eq!(receive_message(&parent).unwrap(), None);
    }

    #[test]
    fn release_differs_from_a_closed_socket() {
        let (parent, child) = socket_pair().unwrap();
        release(&parent).unwrap();
        assert!(wait_for_release(&child).unwrap());
        drop(parent);
        assert!(!wait_for_release(&child).unwrap());
    }

    #[test]
    fn stdin_and_cookie_are_received() {
        let (parent, child) = socket_pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        send_stdin(&parent, null.as_fd(), 0x1234_5678_9abc_def0).unwrap();
        let (stdin, cookie) = receive_stdin(&child).unwrap();
        assert_eq!(cookie, 0x1234_5678_9abc_def0);
        let of = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_rdev;
        assert_eq!(of(stdin.as_fd()), of(null.as_fd()));
        drop(parent);
        assert!(receive_stdin(&child).is_err());
    }
}
