//! One TCP connection: dial, read, write, and a farewell that arrives.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bellhop_bgp::ConnectionId;
use bellhop_core::Password;
use bellhop_net::tcp::{self, DialOptions};
use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

/// Octets pulled from a machine at once.
pub(super) const CHUNK: usize = 16 * 1024;
/// Chunks on their way to a socket: 64 kB for each connection.
pub(super) const CHUNKS: usize = 4;
/// Octets read at once.
const READ: usize = 16 * 1024;
/// For how long a closed connection may still deliver its farewell, and for how long what the neighbour sends is read
/// so that the kernel does not answer it with a reset that overtakes the farewell.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// A peer's life, never used twice, and its connection: late reports find nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    pub(super) peer: u64,
    pub(super) connection: ConnectionId,
}

/// What connections and listeners tell the core.
pub(super) enum Report {
    /// A dial succeeded.
    Connected(Key, SocketAddr),
    /// Octets were read.
    Received(Key, Bytes),
    /// A chunk was written: another fits.
    Drained(Key),
    /// The neighbour closed.
    Closed(Key),
    /// The dial or the connection failed.
    Failed(Key, String),
    /// Somebody dialled us.
    Accepted(TcpStream, SocketAddr),
    /// A router is heard on an interface.
    Heard(Arc<str>, IpAddr),
    /// Ports are redirected as wanted, or why they are not.
    Redirected(Option<String>),
}

/// Held by every connection of a peer until its socket is closed, so that the core can count them.
pub(super) type Presence = Arc<()>;

/// How the core ends a connection.
#[derive(Clone, Debug)]
pub(super) struct Farewell {
    pub(super) message: Bytes,
    pub(super) reset: bool,
}

/// The core's side of a connection. Dropping it closes the connection silently.
pub(super) struct Link {
    pub(super) chunks: mpsc::Sender<Bytes>,
    pub(super) close: watch::Sender<Option<Farewell>>,
    /// The password that the connection is to have from now on.
    pub(super) password: watch::Sender<Option<Password>>,
    pub(super) open: bool,
}

/// The task's side of a [`Link`].
pub(super) struct Ends {
    chunks: mpsc::Receiver<Bytes>,
    close: watch::Receiver<Option<Farewell>>,
    password: watch::Receiver<Option<Password>>,
    reports: mpsc::Sender<Report>,
    key: Key,
    presence: Presence,
}

pub(super) fn link(key: Key, reports: mpsc::Sender<Report>, open: bool, presence: Presence) -> (Link, Ends) {
    let (chunks, chunks_end) = mpsc::channel(CHUNKS);
    let (close, close_end) = watch::channel(None);
    let (password, password_end) = watch::channel(None);
    let link = Link { chunks, close, password, open };
    let ends = Ends { chunks: chunks_end, close: close_end, password: password_end, reports, key, presence };
    (link, ends)
}

/// Dials, then carries the connection.
pub(super) async fn dial(remote: SocketAddr, options: DialOptions, mut ends: Ends) {
    let stream = tokio::select! {
        stream = tcp::dial(remote, &options) => stream,
        _ = farewell(&mut ends.close) => return,
    };
    let (report, stream) = match stream.and_then(|stream| Ok((stream.local_addr()?, stream))) {
        Ok((local, stream)) => (Report::Connected(ends.key, local), Some(stream)),
        Err(error) => (Report::Failed(ends.key, error.to_string()), None),
    };
    if ends.reports.send(report).await.is_ok()
        && let Some(stream) = stream
    {
        carry(stream, ends).await;
    }
}

/// Carries an open connection until both directions ended, or the farewell took too long.
pub(super) async fn carry(stream: TcpStream, ends: Ends) {
    let Ends { chunks, close, password, reports, key, presence: _presence } = ends;
    // A second handle on the socket, as the halves of the stream are lent to reading and writing.
    let handle = stream.as_fd().try_clone_to_owned();
    let neighbour = stream.peer_addr();
    let (mut reading, mut writing) = stream.into_split();
    let signing = async {
        if let Err(error) = sign(handle, neighbour, password).await {
            // Fails only when the core is gone.
            let _ = reports.send(Report::Failed(key, format!("setting the new password: {error}"))).await;
        }
        pending::<bool>().await
    };
    let limit = async {
        let reset = farewell(&mut close.clone()).await.reset;
        if !reset {
            tokio::time::sleep(FAREWELL).await;
        }
        reset
    };
    let both = async {
        let write = write(&mut writing, chunks, close.clone(), reports.clone(), key);
        tokio::join!(read(&mut reading, close.clone(), reports.clone(), key), write);
        false
    };
    let reset = tokio::select! {
        biased;
        reset = limit => reset,
        reset = both => reset,
        reset = signing => reset,
    };
    if reset {
        if let Err(error) = tcp::reset_on_close(writing.as_ref()) {
            tracing::debug!(%error, "resetting a connection");
        }
        // Its drop would finish the connection in order first.
        writing.forget();
    }
}

/// Gives a connection the passwords that the core sends; ends with the core's side, or with an error.
async fn sign(
    socket: io::Result<OwnedFd>,
    neighbour: io::Result<SocketAddr>,
    mut password: watch::Receiver<Option<Password>>,
) -> io::Result<()> {
    while password.changed().await.is_ok() {
        let (socket, neighbour) = match (&socket, &neighbour) {
            (Ok(socket), Ok(neighbour)) => (socket, neighbour),
            (Err(error), _) | (_, Err(error)) => return Err(io::Error::new(error.kind(), error.to_string())),
        };
        let password = password.borrow_and_update().clone();
        tcp::set_password(socket, IpNet::from(neighbour.ip()), password.as_ref())?;
    }
    Ok(())
}

/// Waits until the core ends the connection; its disappearance is an end without a word.
async fn farewell(close: &mut watch::Receiver<Option<Farewell>>) -> Farewell {
    match close.wait_for(Option::is_some).await {
        Ok(farewell) => farewell.clone(),
        Err(_) => None,
    }
    .unwrap_or(Farewell { message: Bytes::new(), reset: false })
}

async fn read(
    stream: &mut OwnedReadHalf,
    close: watch::Receiver<Option<Farewell>>,
    reports: mpsc::Sender<Report>,
    key: Key,
) {
    let mut buf = BytesMut::new();
    loop {
        buf.reserve(READ);
        let report = match stream.read_buf(&mut buf).await {
            Ok(0) => Report::Closed(key),
            Ok(_) => Report::Received(key, buf.split().freeze()),
            Err(error) => Report::Failed(key, error.to_string()),
        };
        let ended = !matches!(report, Report::Received(..));
        // Once closed, what is read is thrown away.
        let closed = close.borrow().is_some() || close.has_changed().is_err();
        if !closed && reports.send(report).await.is_err() || ended {
            return;
        }
    }
}

async fn write(
    stream: &mut OwnedWriteHalf,
    mut chunks: mpsc::Receiver<Bytes>,
    mut close: watch::Receiver<Option<Farewell>>,
    reports: mpsc::Sender<Report>,
    key: Key,
) {
    let result: io::Result<()> = async {
        loop {
            tokio::select! {
                biased;
                chunk = chunks.recv() => match chunk {
                    Some(chunk) => {
                        stream.write_all(&chunk).await?;
                        if close.borrow().is_none() && reports.send(Report::Drained(key)).await.is_err() {
                            return Ok(());
                        }
                    }
                    // The core is done with the connection: its farewell is there, or will never be.
                    None => return finish(stream, farewell(&mut close).await).await,
                },
                farewell = farewell(&mut close) => {
                    while let Ok(chunk) = chunks.try_recv() {
                        stream.write_all(&chunk).await?;
                    }
                    return finish(stream, farewell).await;
                }
            }
        }
    }
    .await;
    if let Err(error) = result {
        // Fails only when the core is gone.
        let _ = reports.send(Report::Failed(key, error.to_string())).await;
        pending::<()>().await;
    }
}

async fn finish(stream: &mut OwnedWriteHalf, farewell: Farewell) -> io::Result<()> {
    if farewell.reset {
        return Ok(());
    }
    stream.write_all(&farewell.message).await?;
    stream.shutdown().await
}
