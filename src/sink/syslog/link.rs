//! One connection to a receiver: made, believed, probed, written to, closed.

use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv, sockopt};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::task::Batch;
use super::{Config, Target};
use crate::net::tls::{self, TlsError};

/// After a handshake the peer may still refuse our certificate (TLS 1.3): how long we listen before we believe the link,
/// at least and at most. In between: twice what the handshake took.
const QUIET: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// What the peer sent stands in the kernel already: reading it takes no longer.
const READ_NOW: Duration = Duration::from_millis(250);
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
}

impl ConnectError {
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Handshake { .. } | Self::Tls(_))
    }
}

/// What `check --connect` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// Where we ended up, of all addresses of the name.
    pub address: String,
    pub tls: Option<TlsReport>,
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
        match &self.tls {
            Some(TlsReport { version, cipher, fingerprint }) => {
                write!(f, "connected to {}, {version}, {cipher}, certificate {fingerprint}", self.address)
            }
            None if self.confirmed => write!(f, "connected to {}", self.address),
            None => write!(f, "{} can be sent to; datagrams are not answered, so nothing more is known", self.address),
        }
    }
}

/// Resolves, connects, shakes hands, and closes again. Nothing is sent.
pub async fn probe(config: &Config) -> Result<ProbeReport, ConnectError> {
    let link = Link::connect(config).await?;
    let report = link.report.clone();
    let _ = link.close(config.timeout.min(Duration::from_secs(5))).await;
    Ok(report)
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

type Boxed = Box<dyn Stream>;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Broken {
    /// The peer closed.
    Closed,
    Failed(io::Error),
    /// It took nothing for so long.
    Stalled(Duration),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "the receiver closed the connection"),
            Self::Failed(error) => match tls::explain(error) {
                Some(reason) => write!(f, "{reason}"),
                None => write!(f, "{error}"),
            },
            Self::Stalled(limit) => write!(f, "the receiver took nothing for {limit:?}"),
        }
    }
}

pub(super) struct Link {
    pipe: Pipe,
    pub(super) report: ProbeReport,
    pub(super) since: Instant,
}

enum Pipe {
    Stream {
        reader: ReadHalf<Boxed>,
        writer: WriteHalf<Boxed>,
        /// The same socket, to look at what lies in the kernel without a turn of the runtime.
        socket: std::net::TcpStream,
    },
    Datagram(Datagram),
}

enum Datagram {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Datagram {
    async fn send(&self, message: &[u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.send(message).await,
            Self::Unix(socket) => socket.send(message).await,
        }
    }

    async fn send_each(&self, batch: &Batch) -> Result<(), Broken> {
        let mut start = 0;
        for &end in &batch.datagrams {
            self.send(&batch.bytes[start..end]).await.map_err(Broken::Failed)?;
            start = end;
        }
        Ok(())
    }

    /// A datagram socket learns of a receiver that is gone by the error of an earlier send. What is received is
    /// forgotten.
    async fn broken(&self) -> Broken {
        let Self::Udp(socket) = self else { return pending().await };
        loop {
            if let Err(error) = socket.recv(&mut [0; 64]).await {
                return Broken::Failed(error);
            }
            // A receiver that floods us must not hold the runtime.
            tokio::task::yield_now().await;
        }
    }
}

impl Link {
    pub(super) async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let (pipe, report) = match &config.target {
            Target::Unix { path } => open_unix(path)?,
            Target::Udp { host, port } | Target::Tcp { host, port } | Target::Tls { host, port } => {
                open_first(config, host, *port).await?
            }
        };
        Ok(Self { pipe, report, since: Instant::now() })
    }

    /// Waits until the connection is over. What the peer says is read and forgotten.
    pub(super) async fn broken(&mut self) -> Broken {
        match &mut self.pipe {
            Pipe::Stream { reader, .. } => read_to_end(reader).await,
            Pipe::Datagram(socket) => socket.broken().await,
        }
    }

    /// Whether the connection has ended already, as far as the kernel knows: a write would still succeed once.
    pub(super) async fn look(&mut self) -> Result<(), Broken> {
        let Pipe::Stream { reader, socket, .. } = &mut self.pipe else { return Ok(()) };
        match recv(&*socket, &mut [0u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => Err(Broken::Failed(errno.into())),
            Ok((_, 0)) => Err(Broken::Closed),
            // It may be an alert or a close of TLS, or a word that nobody asked for.
            Ok(_) => match timeout(READ_NOW, read_to_end(reader)).await {
                Ok(broken) => Err(broken),
                Err(_) => Ok(()),
            },
        }
    }

    /// Writes a batch whole, reading all the while: a refusal must be seen even while the peer takes nothing.
    pub(super) async fn write(&mut self, batch: &Batch, limit: Duration) -> Result<(), Broken> {
        let write = async {
            match &mut self.pipe {
                Pipe::Stream { reader, writer, .. } => {
                    tokio::select! {
                        biased;
                        broken = read_to_end(reader) => Err(broken),
                        written = write_all(writer, &batch.bytes) => written.map_err(Broken::Failed),
                    }
                }
                Pipe::Datagram(socket) => socket.send_each(batch).await,
            }
        };
        timeout(limit, write).await.unwrap_or(Err(Broken::Stalled(limit)))
    }

    /// Closes our side and waits for the peer to close its own: it has then read all that was sent. A peer that closed
    /// with something unread resets the connection instead.
    pub(super) async fn close(self, limit: Duration) -> Result<(), Broken> {
        let Pipe::Stream { mut reader, mut writer, socket } = self.pipe else { return Ok(()) };
        let close = async {
            writer.shutdown().await.map_err(Broken::Failed)?;
            // After close_notify a TLS stream has closed the socket's side too, except where it was closed by the peer.
            let _ = socket.shutdown(std::net::Shutdown::Write);
            match read_to_end(&mut reader).await {
                Broken::Closed => Ok(()),
                // A TLS peer that closes without close_notify: the truncation is of what it says, not of what it read.
                Broken::Failed(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
                broken => Err(broken),
            }
        };
        timeout(limit, close).await.unwrap_or(Err(Broken::Stalled(limit)))
    }
}

impl Pipe {
    fn stream(stream: Boxed, socket: std::net::TcpStream) -> Self {
        let (reader, writer) = split(stream);
        Self::Stream { reader, writer, socket }
    }
}

/// Tries every address of a name in turn; the last one's error counts.
async fn open_first(config: &Config, host: &str, port: u16) -> Result<(Pipe, ProbeReport), ConnectError> {
    let resolved = timeout(config.timeout, lookup_host((host.to_owned(), port))).await;
    let addresses: Vec<SocketAddr> = resolved
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })?
        .collect();
    let mut last = ConnectError::NoAddress { host: host.to_owned() };
    for address in addresses {
        let opened = match &config.target {
            Target::Udp { .. } => open_udp(address).await,
            Target::Tls { .. } => open_tls(config, host, address).await,
            Target::Tcp { .. } | Target::Unix { .. } => open_plain(address, config.timeout).await,
        };
        match opened {
            Ok(link) => return Ok(link),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn open_plain(address: SocketAddr, limit: Duration) -> Result<(Pipe, ProbeReport), ConnectError> {
    let (stream, socket) = open_tcp(address, limit).await?;
    Ok((Pipe::stream(Box::new(stream), socket), plain_report(address, true)))
}

fn plain_report(address: SocketAddr, confirmed: bool) -> ProbeReport {
    ProbeReport { address: address.to_string(), tls: None, confirmed }
}

fn open_unix(path: &std::path::Path) -> Result<(Pipe, ProbeReport), ConnectError> {
    let fail = |source| ConnectError::Unix { path: path.to_path_buf(), source };
    let socket = UnixDatagram::unbound().map_err(fail)?;
    socket.connect(path).map_err(fail)?;
    let report = ProbeReport { address: path.display().to_string(), tls: None, confirmed: false };
    Ok((Pipe::Datagram(Datagram::Unix(socket)), report))
}

async fn open_udp(address: SocketAddr) -> Result<(Pipe, ProbeReport), ConnectError> {
    let fail = |source| ConnectError::Connect { address, source };
    let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).await.map_err(fail)?;
    socket.connect(address).await.map_err(fail)?;
    Ok((Pipe::Datagram(Datagram::Udp(socket)), plain_report(address, false)))
}

async fn open_tcp(address: SocketAddr, limit: Duration) -> Result<(TcpStream, std::net::TcpStream), ConnectError> {
    let open = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let socket = stream.into_std()?;
        let twin = socket.try_clone()?;
        watch_over(&twin)?;
        Ok((TcpStream::from_std(socket)?, twin))
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

async fn open_tls(config: &Config, host: &str, address: SocketAddr) -> Result<(Pipe, ProbeReport), ConnectError> {
    // Read for every connection: certificates are renewed while we run.
    let connector = TlsConnector::from(tls::client_config(&config.tls)?);
    let name = tls::server_name(&config.tls, host)?;
    let (stream, socket) = open_tcp(address, config.timeout).await?;
    let fail = |error: &io::Error| ConnectError::Handshake {
        address,
        reason: tls::explain(error).unwrap_or_else(|| error.to_string()),
    };
    let begun = Instant::now();
    let mut stream = timeout(config.timeout, connector.connect(name, stream))
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer did not answer the handshake")))
        .map_err(|error| fail(&error))?;
    let quiet = (begun.elapsed() * 2).clamp(QUIET.0, QUIET.1);
    match timeout(quiet, read_to_end(&mut stream)).await {
        Err(_) => {}
        Ok(Broken::Failed(error)) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(fail(&error)),
        Ok(_) => {
            let reason = "the peer closed right after the handshake; it may have refused our client certificate";
            return Err(ConnectError::Handshake { address, reason: reason.to_owned() });
        }
    }
    let report = ProbeReport { tls: Some(tls_report(stream.get_ref().1)), ..plain_report(address, true) };
    Ok((Pipe::stream(Box::new(stream), socket), report))
}

fn tls_report(link: &rustls::ClientConnection) -> TlsReport {
    let version = match link.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
        other => format!("{other:?}"),
    };
    let cipher = link.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
    let leaf = link.peer_certificates().and_then(<[_]>::first);
    TlsReport { version, cipher, fingerprint: leaf.map(|der| tls::fingerprint(der)).unwrap_or_default() }
}

async fn read_to_end(reader: &mut (impl AsyncRead + Unpin)) -> Broken {
    let mut buffer = [0; 512];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => return Broken::Closed,
            Ok(_) => {}
            Err(error) => return Broken::Failed(error),
        }
    }
}

async fn write_all(writer: &mut WriteHalf<Boxed>, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}
