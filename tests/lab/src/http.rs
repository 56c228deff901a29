//! A tiny HTTP/1.1 server that answers with its name, and the client side of one request.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

/// Longest request head that is read; a browser's fits.
const HEAD_MAX: u64 = 16 * 1024;
/// Longest answer that is read.
const ANSWER_MAX: u64 = 16 * 1024;
/// How long either side of a connection may keep the other waiting.
const IO_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Serves for ever: every request is answered with `name` and a line feed, one request for each connection. Listens
/// on all addresses of both families.
///
/// # Errors
/// When the port is taken.
pub fn serve(name: &str, port: u16) -> Result<()> {
    let listener = listen(port).with_context(|| format!("cannot listen on port {port}"))?;
    for connection in listener.incoming() {
        let name = name.to_owned();
        // A connection that ended before it was accepted is the client's business.
        let Ok(connection) = connection else { continue };
        std::thread::spawn(move || answer(connection, &name));
    }
    Ok(())
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn answer(connection: TcpStream, name: &str) -> io::Result<()> {
    connection.set_read_timeout(Some(IO_TIMEOUT))?;
    let mut reader = BufReader::new(&connection).take(HEAD_MAX);
    let mut line = String::new();
    // The head ends with an empty line; requests with a body are not answered with more than the name either.
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let length = name.len() + 1;
    (&connection).write_all(
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}\n")
            .as_bytes(),
    )
}

/// A target of requests: `http://203.0.113.10:8080/` or `http://[2001:db8:53::10]:8080/`. Only literal addresses: the lab has
/// no name server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Url(pub SocketAddr);

impl Url {
    /// The server at an address, on the lab's HTTP port.
    pub fn of(address: IpAddr) -> Self {
        Self(SocketAddr::new(address, crate::plan::HTTP_PORT))
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}/", self.0)
    }
}

impl std::str::FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "\"{text}\": give a literal address, as http://203.0.113.10:8080/ or http://[2001:db8::1]/"
            )
        };
        let host = text.strip_prefix("http://").ok_or_else(wrong)?;
        let host = host.strip_suffix('/').unwrap_or(host);
        if let Ok(address) = host.parse() {
            return Ok(Self(address));
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.parse().map(|address| Self(SocketAddr::new(address, 80))).map_err(|_| wrong())
    }
}

/// Where a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// No connection: refused, unreachable, or no answer to SYN within the timeout.
    Connect,
    /// The connection stood and broke before the whole answer was there.
    Answer,
}

/// A request that failed.
#[derive(Debug)]
pub struct RequestError {
    /// Where it failed.
    pub stage: Stage,
    /// Why.
    pub source: io::Error,
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stage = match self.stage {
            Stage::Connect => "no connection",
            Stage::Answer => "connection broke",
        };
        write!(f, "{stage}: {}", self.source)
    }
}

impl std::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What a request got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The body without its line end.
    pub body: String,
    /// The address the connection came from.
    pub local: SocketAddr,
}

/// Asks once, over a connection of its own with a source port of its own; bound to `interface` where one is given.
///
/// # Errors
/// When no connection comes about, or it breaks before the whole answer is there, within `timeout` for each of the two.
pub fn get(url: Url, interface: Option<&str>, timeout: Duration) -> Result<Reply, RequestError> {
    let at = |stage| move |source| RequestError { stage, source };
    let connection = connect(url.0, interface, timeout).map_err(at(Stage::Connect))?;
    let local = connection.local_addr().map_err(at(Stage::Connect))?;
    let body = ask(&connection, url, timeout).map_err(at(Stage::Answer))?;
    Ok(Reply { body, local })
}

fn connect(address: SocketAddr, interface: Option<&str>, timeout: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.connect_timeout(&address.into(), timeout)?;
    Ok(socket.into())
}

fn ask(connection: &TcpStream, url: Url, timeout: Duration) -> io::Result<String> {
    connection.set_read_timeout(Some(timeout))?;
    connection.set_write_timeout(Some(timeout))?;
    let mut stream = connection;
    write!(stream, "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", url.0)?;
    let mut text = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut text)?;
    let invalid = || {
        io::Error::new(io::ErrorKind::InvalidData, format!("not the answer of a server of the lab: {text:?}"))
    };
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(invalid)?;
    if !head.starts_with("HTTP/1.1 200 ") || !body.ends_with('\n') {
        return Err(invalid());
    }
    Ok(body.trim_end().to_owned())
}

/// Asks once and prints the body, as `curl` does.
///
/// # Errors
/// When the request fails.
pub fn get_and_print(url: Url) -> Result<()> {
    let reply = get(url, None, IO_TIMEOUT).with_context(|| format!("asking {url}"))?;
    ensure!(!reply.body.is_empty(), "{url} answers nothing");
    println!("{}", reply.body);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &'static str) -> SocketAddr {
        let listener = listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let _ = answer(connection.unwrap(), name);
            }
        });
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn the_server_answers_with_its_name_over_both_families() {
        let address = server("node-9");
        for address in [address, SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()))] {
            assert_eq!(get(Url(address), None, IO_TIMEOUT).unwrap().body, "node-9");
        }
    }

    #[test]
    fn a_refused_connection_is_a_failure_of_the_connect_stage() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(get(Url(address), None, IO_TIMEOUT).unwrap_err().stage, Stage::Connect);
    }

    #[test]
    fn a_server_that_says_nothing_is_a_failure_of_the_answer_stage() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = std::thread::spawn(move || drop(listener.accept().unwrap()));
        assert_eq!(get(Url(address), None, IO_TIMEOUT).unwrap_err().stage, Stage::Answer);
        accepting.join().unwrap();
    }

    #[test]
    fn a_url_reads_back_as_it_is_written() {
        for text in ["http://203.0.113.10:8080/", "http://[2001:db8:53::10]:8080/"] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
        assert_eq!("http://[2001:db8::1]".parse::<Url>().unwrap().0.port(), 80);
        assert!("http://example/".parse::<Url>().is_err());
        assert!("203.0.113.10".parse::<Url>().is_err());
    }
}
