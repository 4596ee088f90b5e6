//! A descriptor that is readable once somebody has rung: it wakes a main context from another thread with one write,
//! and without an allocation.
//!
//! `MainContext::invoke` makes a source for each wake, and a glib future takes two writes and two polls for each wake:
//! one of each to reset itself.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
mod fd {
    use std::{io, os::fd::OwnedFd};

    use rustix::event::{EventfdFlags, eventfd};

    pub(super) struct Fds {
        pub(super) read: OwnedFd,
    }

    impl Fds {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self { read: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
        }

        pub(super) fn ring(&self) {
            // If the write would block, the count is full, so the descriptor is readable.
            let _ = rustix::io::write(&self.read, &1_u64.to_ne_bytes());
        }

        pub(super) fn clear(&self) {
            let _ = rustix::io::read(&self.read, &mut [0; 8]);
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
mod fd {
    use std::{
        io::{self, Read, Write},
        os::unix::net::UnixStream,
    };

    pub(super) struct Fds {
        pub(super) read: UnixStream,
        write: UnixStream,
    }

    impl Fds {
        pub(super) fn new() -> io::Result<Self> {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            write.set_nonblocking(true)?;
            Ok(Self { read, write })
        }

        pub(super) fn ring(&self) {
            // If the write would block, the pipe is full, so the descriptor is readable.
            let _ = (&self.write).write(&[1]);
        }

        pub(super) fn clear(&self) {
            let mut buffer = [0; 64];
            while (&self.read).read(&mut buffer).is_ok_and(|read| read == buffer.len()) {}
        }
    }
}

pub(crate) struct Wake(fd::Fds);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        fd::Fds::new().map(Self)
    }

    /// Rings, from any thread; never blocks.
    pub(crate) fn ring(&self) {
        self.0.ring();
    }

    /// Clears the ring; call this before looking at what the ring was for.
    pub(crate) fn clear(&self) {
        self.0.clear();
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.read.as_fd()
    }
}
