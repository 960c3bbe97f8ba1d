//! Making a connection: names, addresses, handshakes, and the doubt whether the receiver means it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::link::{Boxed, Broken, Datagram, Link, Pipe, Protocol, Stream, read_to_end};
use super::relp::{RelpError, Session};
use super::{Config, Target};
use crate::net::look::addresses;
use crate::net::tls::{self, TlsError};

/// After a handshake the peer may still refuse our certificate (TLS 1.3): how long we listen before we believe the link,
/// at least and at most. In between: twice what the handshake took.
const QUIET: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;
/// A peer that acknowledges nothing for so long is gone; the kernel itself would try for a quarter of an hour.
const USER_TIMEOUT_MS: u32 = 30_000;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot resolve {host}: {source}; check the name and this machine's DNS")]
    Resolve { host: String, source: io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("cannot connect to {address}: {source}; check that the receiver listens there and no firewall is between")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("cannot use the socket {path}: {source}; check that the local syslog daemon runs", path = path.display())]
    Unix { path: PathBuf, source: io::Error },
    #[error("TLS with {address} failed: {reason}")]
    Handshake { address: SocketAddr, reason: String },
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("RELP with {address} failed: {reason}")]
    Relp { address: SocketAddr, reason: RelpError },
    #[error("RELP with {address} failed: {reason}; check that this is a port for RELP")]
    Silent { address: SocketAddr, reason: Broken },
}

impl ConnectError {
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Handshake { .. } | Self::Tls(_))
    }

    /// How far the attempt had come.
    const fn stage(&self) -> u8 {
        match self {
            Self::Resolve { .. } | Self::NoAddress { .. } => 0,
            Self::Connect { .. } | Self::Unix { .. } => 1,
            Self::Handshake { .. } | Self::Tls(_) => 2,
            Self::Relp { .. } | Self::Silent { .. } => 3,
        }
    }
}

/// What `check --connect` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// Where we ended up, of all addresses of the name.
    pub address: String,
    pub tls: Option<TlsReport>,
    /// How long the connection took, and TLS on it.
    pub took: (Duration, Option<Duration>),
    /// What a receiver over RELP calls itself.
    pub relp: Option<String>,
    /// False for datagrams: nobody answers, so nothing is proved.
    pub confirmed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsReport {
    pub version: String,
    pub cipher: String,
    /// RFC 5425 fingerprint of the peer's certificate.
    pub fingerprint: String,
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.confirmed {
            let nothing = "datagrams are not answered, so nothing more is known";
            return write!(f, "{} can be sent to; {nothing}", self.address);
        }
        write!(f, "connected to {}", self.address)?;
        if let Some(TlsReport { version, cipher, fingerprint }) = &self.tls {
            write!(f, ", {version}, {cipher}, certificate {fingerprint}")?;
        }
        match &self.relp {
            Some(software) => write!(f, ", RELP with {software}"),
            None => Ok(()),
        }
    }
}

/// Tries every receiver, in the order of preference: resolves, connects, shakes hands, opens, and closes again. No record
/// is sent.
pub async fn probe(config: &Config) -> Vec<(Target, Result<ProbeReport, ConnectError>)> {
    let mut found = Vec::new();
    for target in &config.targets {
        found.push((target.clone(), probe_one(config, target).await));
    }
    found
}

async fn probe_one(config: &Config, target: &Target) -> Result<ProbeReport, ConnectError> {
    let link = connect(config, target).await?;
    let report = link.report.clone();
    let _ = link.close(config.timeout.min(Duration::from_secs(5))).await;
    Ok(report)
}

/// A link that may be written to.
pub(super) async fn connect(config: &Config, target: &Target) -> Result<Link, ConnectError> {
    let (pipe, report) = match target {
        Target::Unix { path } => open_unix(path)?,
        Target::UnixStream { path } => open_unix_stream(config, target, path).await?,
        Target::Udp { host, port }
        | Target::Tcp { host, port }
        | Target::Tls { host, port }
        | Target::Relp { host, port }
        | Target::RelpTls { host, port } => open_first(config, target, host, *port).await?,
    };
    Ok(Link::new(pipe, report, config.timeout))
}

/// The first address of a name that takes us.
async fn open_first(
    config: &Config,
    target: &Target,
    host: &str,
    port: u16,
) -> Result<(Pipe, ProbeReport), ConnectError> {
    let addresses = addresses(host, port, config.timeout)
        .await
        .map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })?;
    open_any(config, target, host, &addresses).await
}

/// Tries the addresses in turn. Of their errors that of the one that came furthest counts, of equals the first: a receiver
/// that refuses our certificate is not to be hidden by a second address of its name where nobody listens.
async fn open_any(
    config: &Config,
    target: &Target,
    host: &str,
    addresses: &[SocketAddr],
) -> Result<(Pipe, ProbeReport), ConnectError> {
    let mut furthest = ConnectError::NoAddress { host: host.to_owned() };
    for address in addresses {
        let opened = match target.is_datagram() {
            true => open_udp(*address).await,
            false => open_stream(config, target, host, *address).await,
        };
        match opened {
            Ok(link) => return Ok(link),
            Err(error) if error.stage() > furthest.stage() => furthest = error,
            Err(_) => {}
        }
    }
    Err(furthest)
}

async fn open_stream(
    config: &Config,
    target: &Target,
    host: &str,
    address: SocketAddr,
) -> Result<(Pipe, ProbeReport), ConnectError> {
    let mut report = report(address, true);
    let (mut stream, socket): (Boxed, OwnedFd) = if target.is_tls() {
        let (stream, socket, took) = open_tls(config, target, host, address).await?;
        report.took = took;
        report.tls = Some(tls_report(stream.get_ref().1));
        (Box::new(stream), socket)
    } else {
        let begun = Instant::now();
        let (stream, socket) = open_tcp(address, config.timeout).await?;
        report.took = (begun.elapsed(), None);
        (Box::new(stream), socket)
    };
    let protocol = if target.acknowledges() {
        let (session, software) = open_session(&mut stream, address, config.timeout).await?;
        report.relp = Some(software);
        Protocol::Relp(session)
    } else {
        plain(config, target)
    };
    Ok((Pipe::Stream(Stream::new(stream, socket, protocol)), report))
}

fn plain(config: &Config, target: &Target) -> Protocol {
    Protocol::Plain(config.framing.unwrap_or_else(|| target.default_framing()))
}

fn report(address: impl ToString, confirmed: bool) -> ProbeReport {
    ProbeReport { address: address.to_string(), tls: None, took: Default::default(), relp: None, confirmed }
}

fn open_unix(path: &Path) -> Result<(Pipe, ProbeReport), ConnectError> {
    let fail = |source| ConnectError::Unix { path: path.to_path_buf(), source };
    let socket = UnixDatagram::unbound().map_err(fail)?;
    socket.connect(path).map_err(fail)?;
    Ok((Pipe::Datagram(Datagram::Unix(socket)), report(path.display(), false)))
}

async fn open_unix_stream(config: &Config, target: &Target, path: &Path) -> Result<(Pipe, ProbeReport), ConnectError> {
    let open = async {
        let socket = UnixStream::connect(path).await?.into_std()?;
        let twin = socket.try_clone()?;
        Ok((UnixStream::from_std(socket)?, OwnedFd::from(twin)))
    };
    let opened = timeout(config.timeout, open).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let (stream, twin) = opened.map_err(|source| ConnectError::Unix { path: path.to_path_buf(), source })?;
    let stream = Stream::new(Box::new(stream), twin, plain(config, target));
    Ok((Pipe::Stream(stream), report(path.display(), true)))
}

async fn open_udp(address: SocketAddr) -> Result<(Pipe, ProbeReport), ConnectError> {
    let fail = |source| ConnectError::Connect { address, source };
    let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).await.map_err(fail)?;
    socket.connect(address).await.map_err(fail)?;
    Ok((Pipe::Datagram(Datagram::Udp(socket)), report(address, false)))
}

/// The connection, and the same socket once more.
async fn open_tcp(address: SocketAddr, limit: Duration) -> Result<(TcpStream, OwnedFd), ConnectError> {
    let open = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let socket = stream.into_std()?;
        let twin = socket.try_clone()?;
        watch_over(&twin)?;
        Ok((TcpStream::from_std(socket)?, OwnedFd::from(twin)))
    };
    let opened = timeout(limit, open).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    opened.map_err(|source| ConnectError::Connect { address, source })
}

/// The kernel notices a peer that is gone without a word.
fn watch_over(socket: &std::net::TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_COUNT)?;
    sockopt::set_tcp_user_timeout(socket, USER_TIMEOUT_MS)?;
    Ok(())
}

type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

async fn open_tls(
    config: &Config,
    target: &Target,
    host: &str,
    address: SocketAddr,
) -> Result<(TlsStream, OwnedFd, (Duration, Option<Duration>)), ConnectError> {
    // Read for every connection: certificates are renewed while we run.
    let connector = TlsConnector::from(tls::client_config(&config.tls)?);
    let name = tls::server_name(&config.tls, host)?;
    let begun = Instant::now();
    let (stream, socket) = open_tcp(address, config.timeout).await?;
    let connected = begun.elapsed();
    let fail = |error: &io::Error| ConnectError::Handshake {
        address,
        reason: tls::explain(error).unwrap_or_else(|| error.to_string()),
    };
    let begun = Instant::now();
    let mut stream = timeout(config.timeout, connector.connect(name, stream))
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer did not answer the handshake")))
        .map_err(|error| fail(&error))?;
    let took = (connected, Some(begun.elapsed()));
    // The answer to the first RELP frame tells more than silence could.
    if target.acknowledges() {
        return Ok((stream, socket, took));
    }
    let quiet = (begun.elapsed() * 2).clamp(QUIET.0, QUIET.1);
    match timeout(quiet, read_to_end(&mut stream)).await {
        Err(_) => {}
        Ok(Broken::Failed(error)) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(fail(&error)),
        Ok(_) => return Err(refused_us(address)),
    }
    Ok((stream, socket, took))
}

fn refused_us(address: SocketAddr) -> ConnectError {
    let reason = "the peer closed right after the handshake; it may have refused our client certificate";
    ConnectError::Handshake { address, reason: reason.to_owned() }
}

/// Opens a RELP session; also what the receiver calls itself.
async fn open_session(
    stream: &mut Boxed,
    address: SocketAddr,
    limit: Duration,
) -> Result<(Session, String), ConnectError> {
    let silent = |reason| ConnectError::Silent { address, reason };
    let open = async {
        let (mut session, wire) = Session::open();
        let sent = async {
            stream.write_all(&wire).await?;
            stream.flush().await
        };
        sent.await.map_err(|error| broken_open(address, error))?;
        let mut buffer = [0; 1024];
        loop {
            let length = stream.read(&mut buffer).await.map_err(|error| broken_open(address, error))?;
            if length == 0 {
                return Err(silent(Broken::Closed));
            }
            let opened = session.opened(&buffer[..length]);
            if let Some(software) = opened.map_err(|reason| ConnectError::Relp { address, reason })? {
                return Ok((session, software));
            }
        }
    };
    timeout(limit, open).await.unwrap_or_else(|_| Err(silent(Broken::Unanswered(limit))))
}

/// Under TLS 1.3 this is where a refusal of our certificate shows.
fn broken_open(address: SocketAddr, error: io::Error) -> ConnectError {
    match tls::explain(&error) {
        Some(reason) => ConnectError::Handshake { address, reason },
        None => ConnectError::Silent { address, reason: Broken::Failed(error) },
    }
}

fn tls_report(link: &rustls::ClientConnection) -> TlsReport {
    let (version, cipher) = tls::negotiated(link);
    let leaf = link.peer_certificates().and_then(<[_]>::first);
    TlsReport { version, cipher, fingerprint: leaf.map(|der| tls::fingerprint(der)).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn config(target: &Target) -> Config {
        let mut config = Config::new("test", target.clone(), "node-a1");
        config.timeout = Duration::from_secs(5);
        config
    }

    /// All of 127.0.0.0/8 is ours, so one port has as many addresses as are wanted.
    fn at(last: u8, port: u16) -> SocketAddr {
        (Ipv4Addr::new(127, 0, 0, last), port).into()
    }

    #[tokio::test]
    async fn the_first_address_that_takes_us_is_taken() {
        let listener = TcpListener::bind(at(3, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Target::Tcp { host: "many.test".to_owned(), port };
        let addresses = [at(2, port), at(3, port), at(4, port)];
        let (_, report) = open_any(&config(&target), &target, "many.test", &addresses).await.unwrap();
        assert_eq!(report.address, at(3, port).to_string());
        assert!(listener.accept().is_ok());
    }

    #[tokio::test]
    async fn the_error_of_the_address_that_came_furthest_is_told() {
        let listener = TcpListener::bind(at(3, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        // It takes the connection, and closes it instead of a handshake.
        let peer = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let target = Target::Tls { host: "many.test".to_owned(), port };
        let addresses = [at(2, port), at(3, port), at(4, port)];
        let Err(error) = open_any(&config(&target), &target, "many.test", &addresses).await else {
            panic!("nobody is there")
        };
        peer.join().unwrap();
        assert!(matches!(error, ConnectError::Handshake { address, .. } if address == at(3, port)), "{error}");
        assert!(error.is_tls());

        let Err(error) = open_any(&config(&target), &target, "many.test", &addresses).await else {
            panic!("nobody is there")
        };
        assert!(matches!(error, ConnectError::Connect { address, .. } if address == at(2, port)), "{error}");
        let Err(error) = open_any(&config(&target), &target, "many.test", &[]).await else { panic!("no address") };
        assert_eq!(error.to_string(), "many.test has no address");
    }
}
