//! Where records go and how they are told apart on the way.

use std::fmt;
use std::path::PathBuf;

/// One receiver's address. A host is a name or an address, an IPv6 one without brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Udp {
        host: String,
        port: u16,
    },
    Tcp {
        host: String,
        port: u16,
    },
    Tls {
        host: String,
        port: u16,
    },
    /// Syslog with acknowledgements: [`super::relp`].
    Relp {
        host: String,
        port: u16,
    },
    RelpTls {
        host: String,
        port: u16,
    },
    /// A datagram socket of a local daemon.
    Unix {
        path: PathBuf,
    },
    /// A stream socket of a local daemon.
    UnixStream {
        path: PathBuf,
    },
}

/// How records are told apart on a stream (RFC 6587). A datagram and RELP need none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    #[default]
    OctetCounting,
    Lf,
}

impl Target {
    /// Each record is a message of its own; nobody hears whether it came.
    pub fn is_datagram(&self) -> bool {
        matches!(self, Self::Udp { .. } | Self::Unix { .. })
    }

    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::RelpTls { .. })
    }

    /// The receiver says of each record that it has it.
    pub fn acknowledges(&self) -> bool {
        matches!(self, Self::Relp { .. } | Self::RelpTls { .. })
    }

    /// `None` for a socket in the file system.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Udp { host, .. }
            | Self::Tcp { host, .. }
            | Self::Tls { host, .. }
            | Self::Relp { host, .. }
            | Self::RelpTls { host, .. } => Some(host),
            Self::Unix { .. } | Self::UnixStream { .. } => None,
        }
    }

    /// `None` for a socket in the file system.
    pub(super) fn port(&self) -> Option<u16> {
        match self {
            Self::Udp { port, .. }
            | Self::Tcp { port, .. }
            | Self::Tls { port, .. }
            | Self::Relp { port, .. }
            | Self::RelpTls { port, .. } => Some(*port),
            Self::Unix { .. } | Self::UnixStream { .. } => None,
        }
    }

    /// What the kind of receiver expects where the user says nothing: local daemons take lines on a stream socket, not
    /// all of them counted octets.
    pub(super) fn default_framing(&self) -> Framing {
        match self {
            Self::UnixStream { .. } => Framing::Lf,
            _ => Framing::OctetCounting,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Udp { host, port } => ("udp", host, port),
            Self::Tcp { host, port } => ("tcp", host, port),
            Self::Tls { host, port } => ("tls", host, port),
            Self::Relp { host, port } => ("relp", host, port),
            Self::RelpTls { host, port } => ("relp+tls", host, port),
            Self::Unix { path } => return write!(f, "unix://{}", path.display()),
            Self::UnixStream { path } => return write!(f, "unix-stream://{}", path.display()),
        };
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}"),
            false => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}
