//! Events to documents and records, written into the caller's buffer: no I/O, no clock, no allocation that lasts.

pub mod cef;
pub mod ecs;
pub mod json;
pub mod leef;
pub mod octets;
pub mod record;
pub mod structured_data;

/// What to do with process arguments, which often hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProcessArgs {
    /// As logged.
    Keep,
    /// Their number stays, their text becomes `***`.
    #[default]
    Redact,
    Drop,
}
