//! A neighbour by hand: a listening socket, connections, and octets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::messages::{Heard, HeardOpen, HeardUpdate, Open, decode, good_open, keepalive};
use crate::speaker::PATIENCE;

/// A neighbour that the speaker dials.
pub(crate) struct Router {
    pub(crate) address: IpAddr,
    listener: TcpListener,
}

impl Router {
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::with_receive_buffer(address, None)
    }

    /// One whose kernel takes few octets that it does not read.
    pub(crate) fn narrow(address: IpAddr) -> Self {
        Self::with_receive_buffer(address, Some(4096))
    }

    fn with_receive_buffer(address: IpAddr, octets: Option<u32>) -> Self {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        if let Some(octets) = octets {
            socket.set_recv_buffer_size(octets).unwrap();
        }
        socket.bind(SocketAddr::new(address, 0)).unwrap();
        Self { address, listener: socket.listen(16).unwrap() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The speaker's next connection.
    pub(crate) async fn dialled(&self) -> Wire {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        Wire::new(accepted.expect("the speaker dials").unwrap().0)
    }

    /// The speaker's next connection, on which this OPEN was exchanged for the returned one.
    pub(crate) async fn opened(&self, open: &Open) -> (Wire, HeardOpen) {
        let mut wire = self.dialled().await;
        let theirs = wire.open().await;
        wire.write(&open.octets()).await;
        (wire, theirs)
    }

    /// A session with this OPEN.
    pub(crate) async fn session_with(&self, open: &Open) -> Wire {
        let (mut wire, _) = self.opened(open).await;
        wire.confirm().await;
        wire
    }

    pub(crate) async fn session(&self) -> Wire {
        self.session_with(&good_open()).await
    }
}

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Closed,
    Reset,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        // Fails where the connection is gone already, of which the first read tells.
        let _ = stream.set_nodelay(true);
        Self { stream, read: Vec::new() }
    }

    /// Dials the speaker from an address.
    pub(crate) async fn dial(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(from, 0))?;
        Ok(Self::new(socket.connect(to).await?))
    }

    pub(crate) async fn write(&mut self, octets: &[u8]) {
        self.try_write(octets).await.expect("the connection stands");
    }

    /// Writes as far as the other side lets it.
    pub(crate) async fn try_write(&mut self, octets: &[u8]) -> io::Result<()> {
        let written = tokio::time::timeout(PATIENCE, self.stream.write_all(octets)).await;
        written.expect("the speaker reads")
    }

    /// The next message, or how the connection ended.
    pub(crate) async fn hear(&mut self) -> Result<Heard, End> {
        let heard = tokio::time::timeout(PATIENCE, self.hear_for_ever()).await;
        heard.expect("a message, or the end of the connection")
    }

    /// The next message, if one comes within this time.
    pub(crate) async fn hear_within(&mut self, time: Duration) -> Option<Result<Heard, End>> {
        tokio::time::timeout(time, self.hear_for_ever()).await.ok()
    }

    async fn hear_for_ever(&mut self) -> Result<Heard, End> {
        loop {
            if let Some(length) = self.read.get(16..18).map(|l| usize::from(u16::from_be_bytes([l[0], l[1]])))
                && self.read.len() >= length
            {
                assert!((19..=4096).contains(&length), "a message of {length} octets");
                let rest = self.read.split_off(length);
                return Ok(decode(&std::mem::replace(&mut self.read, rest)));
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) if self.read.is_empty() => return Err(End::Closed),
                Ok(0) => panic!("the end within a message: {:02x?}", self.read),
                Ok(_) => {}
                Err(_) => return Err(End::Reset),
            }
        }
    }

    pub(crate) async fn open(&mut self) -> HeardOpen {
        match self.hear().await {
            Ok(Heard::Open(open)) => open,
            other => panic!("not an OPEN: {other:?}"),
        }
    }

    /// Reads the KEEPALIVE that answers an OPEN and sends another.
    pub(crate) async fn confirm(&mut self) {
        assert_eq!(self.hear().await, Ok(Heard::Keepalive), "the answer to a good OPEN");
        self.write(&keepalive()).await;
    }

    /// The next UPDATE; KEEPALIVEs before it are passed over.
    pub(crate) async fn update(&mut self) -> HeardUpdate {
        loop {
            match self.hear().await {
                Ok(Heard::Update(update)) => return update,
                Ok(Heard::Keepalive) => {}
                other => panic!("not an UPDATE: {other:?}"),
            }
        }
    }

    /// The UPDATEs until the End-of-RIBs of this many families.
    pub(crate) async fn initial(&mut self, families: usize) -> Vec<HeardUpdate> {
        let (mut updates, mut ends) = (Vec::new(), 0);
        while ends < families {
            let update = self.update().await;
            if update.is_end_of_rib() { ends += 1 } else { updates.push(update) }
        }
        updates
    }

    /// The NOTIFICATION with which the speaker closes the connection; what comes before it is passed over.
    pub(crate) async fn notification(&mut self) -> (u8, u8, Vec<u8>) {
        loop {
            match self.hear().await {
                Ok(Heard::Notification(code, subcode, data)) => {
                    assert_eq!(self.hear().await, Err(End::Closed), "after the NOTIFICATION");
                    return (code, subcode, data);
                }
                Ok(_) => {}
                Err(end) => panic!("{end:?} without a NOTIFICATION"),
            }
        }
    }

    /// How the connection ends, without a NOTIFICATION.
    pub(crate) async fn end(&mut self) -> End {
        loop {
            match self.hear().await {
                Ok(notification @ Heard::Notification(..)) => panic!("{notification:?}"),
                Ok(_) => {}
                Err(end) => return end,
            }
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap()
    }
}
