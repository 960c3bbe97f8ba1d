//! What every peer needs: TLS, and HTTP over it.

pub mod http;
pub mod tls;
