//! What a SIEM record says, whatever its format: which events become records, and of which kind.

mod class;
mod filter;

pub use class::{CLASSES, Class};
pub use filter::{Connections, Filter, Verdict};
