//! What every peer needs: TLS, HTTP over it, credentials, and who it is that answers.

pub mod auth;
pub mod http;
pub mod product;
pub mod tls;
