//! One connection to a receiver that is made: listened to, looked at, written to, closed.

use std::fmt;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::{Instant, timeout};

use super::batch::Batch;
use super::connect::ProbeReport;
use super::relp::{RelpError, Session};
use super::target::Framing;
use crate::net::tls;

/// What the peer sent stands in the kernel already: reading it takes no longer.
const READ_NOW: Duration = Duration::from_millis(250);

pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

pub(super) type Boxed = Box<dyn Duplex>;

/// How a connection ended.
#[derive(Debug)]
pub enum Broken {
    /// The peer closed.
    Closed,
    Failed(io::Error),
    /// It took nothing for so long.
    Stalled(Duration),
    /// It acknowledged nothing for so long.
    Unanswered(Duration),
    Relp(RelpError),
}

impl Broken {
    /// The peer is there and does nothing: to try it again at once is of no use.
    pub(super) fn is_deaf(&self) -> bool {
        matches!(self, Self::Stalled(_) | Self::Unanswered(_))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "the receiver closed the connection"),
            Self::Failed(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "the receiver closed the connection without ending TLS first")
            }
            Self::Failed(error) => match tls::explain(error) {
                Some(reason) => write!(f, "{reason}"),
                None => write!(f, "{error}"),
            },
            Self::Stalled(limit) => write!(f, "the receiver took nothing for {limit:?}"),
            Self::Unanswered(limit) => write!(f, "the receiver acknowledged nothing for {limit:?}"),
            Self::Relp(error) => write!(f, "{error}"),
        }
    }
}

/// What a link says while nothing is written.
#[derive(Debug)]
pub(super) enum Event {
    /// There is something in [`Link::take_acknowledged`].
    Acknowledged,
    Broken(Broken),
}

pub(super) struct Link {
    pipe: Pipe,
    pub(super) report: ProbeReport,
    pub(super) since: Instant,
    /// How long an answer may take.
    limit: Duration,
    /// When an answer came last, or the first frame went out that waits for one.
    heard: Instant,
}

pub(super) enum Pipe {
    Stream(Stream),
    Datagram(Datagram),
}

pub(super) struct Stream {
    reader: ReadHalf<Boxed>,
    writer: WriteHalf<Boxed>,
    /// The same socket, to look at what lies in the kernel without a turn of the runtime.
    socket: OwnedFd,
    protocol: Protocol,
    /// Frames of one write.
    wire: Vec<u8>,
}

pub(super) enum Protocol {
    Plain(Framing),
    Relp(Session),
}

pub(super) enum Datagram {
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

    async fn send_each(&self, batch: &Batch) -> Result<usize, Broken> {
        let mut octets = 0;
        for index in batch.next(usize::MAX) {
            octets += self.send(batch.message(index)).await.map_err(Broken::Failed)?;
        }
        Ok(octets)
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

impl Stream {
    pub(super) fn new(stream: Boxed, socket: OwnedFd, protocol: Protocol) -> Self {
        let (reader, writer) = split(stream);
        Self { reader, writer, socket, protocol, wire: Vec::new() }
    }

    async fn event(&mut self) -> Event {
        match &mut self.protocol {
            Protocol::Plain(_) => Event::Broken(read_to_end(&mut self.reader).await),
            Protocol::Relp(session) => match read_answers(&mut self.reader, session).await {
                Ok(()) => Event::Acknowledged,
                Err(broken) => Event::Broken(broken),
            },
        }
    }

    async fn look(&mut self) -> Result<(), Broken> {
        // Answers are what we expect, and a session that ends loses nothing.
        if let Protocol::Relp(_) = self.protocol {
            return Ok(());
        }
        match recv(&self.socket, &mut [0u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => Err(Broken::Failed(errno.into())),
            Ok((_, 0)) => Err(Broken::Closed),
            // It may be an alert or a close of TLS, or a word that nobody asked for.
            Ok(_) => match timeout(READ_NOW, read_to_end(&mut self.reader)).await {
                Ok(broken) => Err(broken),
                Err(_) => Ok(()),
            },
        }
    }

    /// Reads all the while: a refusal must be seen even while the peer takes nothing, and a RELP peer that waits for us
    /// to take its answers takes nothing itself.
    async fn write(&mut self, batch: &Batch) -> Result<usize, Broken> {
        self.wire.clear();
        let messages = batch.next(self.room());
        match &mut self.protocol {
            Protocol::Plain(framing) => batch.frame(messages, *framing, &mut self.wire),
            Protocol::Relp(session) => session.frame(batch, messages, &mut self.wire),
        }
        let listen = async {
            match &mut self.protocol {
                Protocol::Plain(_) => read_to_end(&mut self.reader).await,
                Protocol::Relp(session) => loop {
                    if let Err(broken) = read_answers(&mut self.reader, session).await {
                        break broken;
                    }
                },
            }
        };
        tokio::select! {
            biased;
            broken = listen => Err(broken),
            written = write_all(&mut self.writer, &self.wire) => {
                written.map_err(Broken::Failed).map(|()| self.wire.len())
            }
        }
    }

    fn room(&self) -> usize {
        match &self.protocol {
            Protocol::Plain(_) => usize::MAX,
            Protocol::Relp(session) => session.room(),
        }
    }

    async fn close(mut self) -> Result<(), Broken> {
        if let Protocol::Relp(session) = &self.protocol {
            self.wire.clear();
            session.close(&mut self.wire);
            write_all(&mut self.writer, &self.wire).await.map_err(Broken::Failed)?;
        }
        self.writer.shutdown().await.map_err(Broken::Failed)?;
        // After close_notify a TLS stream has closed the socket's side too, except where it was closed by the peer.
        let _ = shutdown(&self.socket, Shutdown::Write);
        match read_to_end(&mut self.reader).await {
            Broken::Closed => Ok(()),
            // A TLS peer that closes without close_notify: the truncation is of what it says, not of what it read.
            Broken::Failed(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            broken => Err(broken),
        }
    }
}

impl Link {
    pub(super) fn new(pipe: Pipe, report: ProbeReport, limit: Duration) -> Self {
        let now = Instant::now();
        Self { pipe, report, since: now, limit, heard: now }
    }

    /// Waits until there is something to know. What a receiver without RELP says is read and forgotten.
    pub(super) async fn event(&mut self) -> Event {
        match &mut self.pipe {
            Pipe::Stream(stream) => stream.event().await,
            Pipe::Datagram(socket) => Event::Broken(socket.broken().await),
        }
    }

    /// Whether the connection has ended already, as far as the kernel knows: a write would still succeed once.
    pub(super) async fn look(&mut self) -> Result<(), Broken> {
        match &mut self.pipe {
            Pipe::Stream(stream) => stream.look().await,
            Pipe::Datagram(_) => Ok(()),
        }
    }

    /// Whether the receiver can show that it has read something, at the latest by closing.
    pub(super) fn confirms(&self) -> bool {
        self.report.confirmed
    }

    /// Whether the receiver says of each record that it has it.
    pub(super) fn acknowledges(&self) -> bool {
        matches!(&self.pipe, Pipe::Stream(Stream { protocol: Protocol::Relp(_), .. }))
    }

    /// How many messages may be written now.
    pub(super) fn room(&self) -> usize {
        match &self.pipe {
            Pipe::Stream(stream) => stream.room(),
            Pipe::Datagram(_) => usize::MAX,
        }
    }

    /// Writes what comes next of a batch, as much as there is room for, and marks it; gives the octets.
    pub(super) async fn write(&mut self, batch: &mut Batch, limit: Duration) -> Result<usize, Broken> {
        if self.answer_due().is_none() {
            self.heard = Instant::now();
        }
        let messages = batch.next(self.room());
        let write = async {
            match &mut self.pipe {
                Pipe::Stream(stream) => stream.write(batch).await,
                Pipe::Datagram(socket) => socket.send_each(batch).await,
            }
        };
        let octets = timeout(limit, write).await.unwrap_or(Err(Broken::Stalled(limit)))?;
        batch.written = messages.end;
        Ok(octets)
    }

    /// How many messages, in the order of their writing, were acknowledged since the last call.
    pub(super) fn take_acknowledged(&mut self) -> usize {
        let Pipe::Stream(Stream { protocol: Protocol::Relp(session), .. }) = &mut self.pipe else { return 0 };
        let count = session.take_acknowledged();
        if count > 0 {
            self.heard = Instant::now();
        }
        count
    }

    /// Until when the receiver has to acknowledge something.
    pub(super) fn answer_due(&self) -> Option<Instant> {
        let Pipe::Stream(Stream { protocol: Protocol::Relp(session), .. }) = &self.pipe else { return None };
        session.is_waiting().then(|| self.heard + self.limit)
    }

    /// Closes our side and waits for the peer to close its own: it has then read all that was sent. A peer that closed
    /// with something unread resets the connection instead.
    pub(super) async fn close(self, limit: Duration) -> Result<(), Broken> {
        let Pipe::Stream(stream) = self.pipe else { return Ok(()) };
        timeout(limit, stream.close()).await.unwrap_or(Err(Broken::Stalled(limit)))
    }
}

/// Reads once; what was acknowledged is in the session then.
async fn read_answers(reader: &mut ReadHalf<Boxed>, session: &mut Session) -> Result<(), Broken> {
    let mut buffer = [0; 4096];
    match reader.read(&mut buffer).await {
        Ok(0) => Err(Broken::Closed),
        Ok(length) => session.received(&buffer[..length]).map_err(Broken::Relp),
        Err(error) => Err(Broken::Failed(error)),
    }
}

pub(super) async fn read_to_end(reader: &mut (impl AsyncRead + Unpin)) -> Broken {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the TLS library are a page of its manual.
    #[test]
    fn a_peer_that_ends_without_a_word_of_tls() {
        let broken = Broken::Failed(io::Error::new(io::ErrorKind::UnexpectedEof, "https://docs"));
        assert_eq!(broken.to_string(), "the receiver closed the connection without ending TLS first");
    }
}
