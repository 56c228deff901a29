//! The kernel's nf_tables, by netlink sockets of the network namespace of the thread that opens them.

use std::io;
use std::os::fd::AsRawFd;

use rtnetlink::sys::Socket;
use tokio::io::unix::AsyncFd;

use super::answer::{self, Answer};
use super::message::Transaction;
use super::ruleset::{difference, removal, whole};
use super::{FilterError, FilterTable, PacketFilter, Replaced, TableWatch};

/// `NETLINK_NETFILTER` (linux/netlink.h).
const NETFILTER: isize = 12;

/// `NFNLGRP_NFTABLES` (linux/netfilter/nfnetlink.h).
const CHANGES: u32 = 7;

/// The kernel keeps this much of a socket's buffer back (`netlink_sendmsg`).
const RESERVE: usize = 64;

/// Room for answers: one for each refused message, and the explanations are short.
const ANSWERS: usize = 1 << 20;

/// Room for what others' changes are told in: a kube-proxy that writes its rules for 10,000 Services anew tells some
/// 12 MB, most of which is read while it is told.
const TOLD: usize = 8 << 20;

/// Longest datagram that is read; netlink makes none longer where the reader does not ask for it.
const DATAGRAM: usize = 64 << 10;

/// The kernel's nf_tables.
///
/// Dropping it changes nothing: the table outlives the process, and the next one takes its place in one step.
#[derive(Debug)]
pub struct NfTables {
    socket: Socket,
    port: u32,
    /// What our table holds, as far as is known; `None`: write it whole.
    present: Option<FilterTable>,
}

impl NfTables {
    /// Opens a socket in the network namespace of this thread.
    ///
    /// # Errors
    /// [`FilterError::Open`] where the kernel has no nf_tables or the process may not use it.
    pub fn open() -> Result<Self, FilterError> {
        let open = || {
            let mut socket = Socket::new(NETFILTER)?;
            let port = socket.bind_auto()?.port_number();
            socket.set_non_blocking(true)?;
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            grow(&socket, libc::SO_RCVBUFFORCE, ANSWERS)?;
            Ok(Self { socket, port, present: None })
        };
        open().map_err(FilterError::Open)
    }

    /// A watch over others' changes to the table that this writes. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`FilterError::Open`], as for [`NfTables::open`].
    pub fn watch(&self) -> Result<NfTablesWatch, FilterError> {
        let open = || {
            let mut socket = Socket::new(NETFILTER)?;
            socket.bind_auto()?;
            socket.set_non_blocking(true)?;
            grow(&socket, libc::SO_RCVBUFFORCE, TOLD)?;
            socket.add_membership(CHANGES)?;
            // SAFETY: a `Socket` is its descriptor, the same until it is dropped, which is after `AsyncFd` let go of it.
            let socket = unsafe { AsyncFd::register(socket) }?;
            Ok(NfTablesWatch { socket, writer: self.port })
        };
        open().map_err(FilterError::Open)
    }

    /// Sends a transaction and reads the answer. The kernel carries it out inside the system call, so that the answer
    /// is there when the call returns.
    pub(super) fn commit(&mut self, transaction: &Transaction) -> Result<(), FilterError> {
        let mut datagram = Vec::with_capacity(DATAGRAM);
        while self.read(&mut datagram).map_err(FilterError::Exchange)? {}
        let send = || {
            grow(&self.socket, libc::SO_SNDBUFFORCE, transaction.bytes.len() + RESERVE)?;
            self.socket.send(&transaction.bytes, 0)
        };
        send().map_err(FilterError::Exchange)?;
        let mut answer = Answer::default();
        while self.read(&mut datagram).map_err(FilterError::Exchange)? {
            answer::take(&mut answer, &datagram, transaction.acknowledged);
        }
        match answer {
            Answer { refusal: Some(refusal), .. } => Err(FilterError::Refused {
                what: refusal.what,
                explanation: refusal.explanation,
                source: refusal.source,
            }),
            Answer { done: true, .. } => Ok(()),
            Answer { .. } => Err(FilterError::Unanswered),
        }
    }

    /// Reads one datagram; false where none is left.
    fn read(&self, datagram: &mut Vec<u8>) -> io::Result<bool> {
        datagram.clear();
        match self.socket.recv(datagram, 0) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl PacketFilter for NfTables {
    fn replace(&mut self, wanted: &FilterTable) -> Result<Replaced, FilterError> {
        let present = self.present.take();
        if present.as_ref() == Some(wanted) {
            self.present = present;
            return Ok(Replaced::default());
        }
        let step = present
            .filter(|present| !present.is_empty() && !wanted.is_empty())
            .and_then(|present| difference(&present, wanted));
        let transaction = match step {
            Some(step) => step,
            None if wanted.is_empty() => removal(),
            None => whole(wanted),
        };
        self.commit(&transaction)?;
        self.present = Some(wanted.clone());
        Ok(Replaced { messages: transaction.messages, bytes: transaction.bytes.len() })
    }

    fn forget(&mut self) {
        self.present = None;
    }
}

/// Tells when somebody else changed our table.
#[derive(Debug)]
pub struct NfTablesWatch {
    socket: AsyncFd<Socket>,
    /// The socket whose changes are our own.
    writer: u32,
}

impl TableWatch for NfTablesWatch {
    async fn disturbed(&mut self) -> io::Result<()> {
        let mut datagram = Vec::with_capacity(DATAGRAM);
        loop {
            let mut ready = self.socket.readable().await?;
            let told = ready.try_io(|socket| {
                datagram.clear();
                socket.get_ref().recv(&mut datagram, 0)
            });
            match told {
                Ok(Ok(_)) if answer::tells_of_another(&datagram, self.writer) => return Ok(()),
                Ok(Ok(_)) | Err(_) => {}
                // Some of it was lost, and ours may be among it.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
                Ok(Err(error)) => return Err(error),
            }
        }
    }
}

/// Makes a socket's buffer at least `size` bytes large, beyond the limit that holds for processes without
/// `CAP_NET_ADMIN`.
fn grow(socket: &Socket, option: libc::c_int, size: usize) -> io::Result<()> {
    let size = libc::c_int::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `socket` lives, and the pointer is to an int of the length given.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const size).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
