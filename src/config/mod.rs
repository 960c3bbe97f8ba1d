//! wip
pub mod scalar;
pub mod shape;
pub mod url;
