//! The demo: traffic of a small shop, the real agent over it, receivers that check what they get, and a picture of it all.

pub mod receivers;
pub mod traffic;
