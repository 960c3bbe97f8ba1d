//! A first look at a peer: where its name leads, who listens there, what its TLS says. Nothing is sent over it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tls::{self, TlsConfig};

/// What was found, as far as it went.
#[derive(Debug, Default)]
pub struct Look {
    /// Everything the name leads to, and how long asking took.
    pub addresses: Vec<SocketAddr>,
    pub resolved_in: Duration,
    /// The first one that took a connection, and how long that took.
    pub connected: Option<(SocketAddr, Duration)>,
    pub handshake: Option<Handshake>,
    /// Why it went no further, in words.
    pub failed: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    pub version: String,
    pub cipher: String,
    pub took: Duration,
}

/// Looks at `host`, with TLS where it is given; each step may take `limit`.
pub async fn look(host: &str, port: u16, tls: Option<&TlsConfig>, limit: Duration) -> Look {
    let mut look = Look::default();
    look.failed = look.steps(host, port, tls, limit).await.err();
    look
}

/// The addresses that a name leads to.
pub async fn addresses(host: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    let resolved = timeout(limit, lookup_host((host.to_owned(), port))).await;
    Ok(resolved.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?.collect())
}

/// The same, in words where there are none.
pub async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, String> {
    let mut addresses = addresses(host, port, limit)
        .await
        .map_err(|error| format!("cannot resolve {host}: {error}; check the name and this machine's DNS"))?;
    addresses.dedup();
    if addresses.is_empty() { Err(format!("{host} has no address")) } else { Ok(addresses) }
}

impl Look {
    async fn steps(&mut self, host: &str, port: u16, tls: Option<&TlsConfig>, limit: Duration) -> Result<(), String> {
        let begun = Instant::now();
        self.addresses = resolve(host, port, limit).await?;
        self.resolved_in = begun.elapsed();
        let stream = self.connect(limit).await?;
        let Some(tls) = tls else { return Ok(()) };
        let connector = TlsConnector::from(tls::client_config(tls).map_err(|error| error.to_string())?);
        let name = tls::server_name(tls, host).map_err(|error| error.to_string())?;
        let begun = Instant::now();
        let shaken = timeout(limit, connector.connect(name, stream)).await;
        let stream = shaken
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer did not answer the handshake")))
            .map_err(|error| format!("TLS failed: {}", tls::explain(&error).unwrap_or_else(|| error.to_string())))?;
        let (version, cipher) = tls::negotiated(stream.get_ref().1);
        self.handshake = Some(Handshake { version, cipher, took: begun.elapsed() });
        Ok(())
    }

    async fn connect(&mut self, limit: Duration) -> Result<TcpStream, String> {
        let mut failed = Vec::new();
        for address in &self.addresses {
            let begun = Instant::now();
            let connected = timeout(limit, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    self.connected = Some((*address, begun.elapsed()));
                    return Ok(stream);
                }
                Err(error) => failed.push(format!("cannot connect to {address}: {error}")),
            }
        }
        Err(failed.join("; "))
    }
}
