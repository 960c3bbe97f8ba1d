//! What every peer needs: TLS, HTTP over it, credentials, who it is that answers, whom to try next and after what wait.

pub mod auth;
mod backoff;
pub mod certificate;
pub mod gzip;
pub mod http;
pub mod look;
pub mod pace;
pub mod product;
pub mod receivers;
pub mod tls;
