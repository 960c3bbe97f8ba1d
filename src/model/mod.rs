//! What travels: a flow as its source reported it, addresses and ports, and the event that a lane carries.
//!
//! Nothing here knows a wire format. Strings are borrowed from the line wherever the line allows it, so that a flow
//! costs no copy on its way from the file to a document.

pub mod event;
pub mod find;
pub mod flow;
pub mod id;
pub mod net;
pub mod trace;
pub mod wildcard;

pub use event::{Body, Event, Origin, RawLine, ZonePair};
pub use flow::{Action, End, EndpointType, Flow, Labels, Policies, Process, Reporter, Service, TcpStats, Text};
pub use id::{FileKey, KEY_LINE_LIMIT, LineId, filler};
