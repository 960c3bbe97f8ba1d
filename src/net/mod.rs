//! What every peer needs: TLS.

pub mod tls;
