//! What makes flows alike.

use std::io::Write as _;

use crate::model::net::Protocol;
use crate::model::{Event, Flow};

/// A field of a flow, named as in the filter language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    SourceZone,
    DestZone,
    SourceNamespace,
    DestNamespace,
    SourceWorkload,
    DestWorkload,
    SourceIp,
    DestIp,
    DestPort,
    Proto,
    Service,
    Process,
    Verdict,
}

impl Key {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SourceZone => "source.zone",
            Self::DestZone => "dest.zone",
            Self::SourceNamespace => "source.namespace",
            Self::DestNamespace => "dest.namespace",
            Self::SourceWorkload => "source.workload",
            Self::DestWorkload => "dest.workload",
            Self::SourceIp => "source.ip",
            Self::DestIp => "dest.ip",
            Self::DestPort => "dest.port",
            Self::Proto => "proto",
            Self::Service => "service",
            Self::Process => "process",
            Self::Verdict => "verdict",
        }
    }

    /// Appends the flow's value; nothing where the log has none.
    fn put(self, event: &Event<'_>, flow: &Flow<'_>, out: &mut Vec<u8>) {
        let workload = |end: &crate::model::End<'_>, out: &mut Vec<u8>| {
            put_text(end.name_aggr.as_deref().or(end.name.as_deref()), out);
        };
        match self {
            Self::SourceZone => put_text(event.zones.map(|zones| zones.source), out),
            Self::DestZone => put_text(event.zones.map(|zones| zones.dest), out),
            Self::SourceNamespace => put_text(flow.source.namespace.as_deref(), out),
            Self::DestNamespace => put_text(flow.dest.namespace.as_deref(), out),
            Self::SourceWorkload => workload(&flow.source, out),
            Self::DestWorkload => workload(&flow.dest, out),
            Self::SourceIp => put_shown(flow.source.ip, out),
            Self::DestIp => put_shown(flow.dest.ip, out),
            Self::DestPort => put_shown(flow.dest.port, out),
            Self::Proto => match flow.protocol.and_then(Protocol::keyword) {
                Some(keyword) => put_text(Some(keyword), out),
                None => put_shown(flow.protocol.map(|protocol| protocol.0), out),
            },
            Self::Service => put_text(flow.service.name.as_deref(), out),
            Self::Process => put_text(flow.process.name.as_deref(), out),
            Self::Verdict => put_text(flow.action.map(crate::model::Action::as_str), out),
        }
    }
}

fn put_text(text: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(text.unwrap_or_default().as_bytes());
}

fn put_shown(value: Option<impl std::fmt::Display>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        let _ = write!(out, "{value}"); // A Vec takes everything.
    }
}

/// Appends the values of all keys, each with its length before it: no value can look like two.
pub(super) fn put_all(keys: &[Key], event: &Event<'_>, flow: &Flow<'_>, out: &mut Vec<u8>) {
    for key in keys {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        key.put(event, flow, out);
        let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// `source.zone=dmz dest.zone=data` of what [`put_all`] wrote; a value that the log did not have is `-`.
pub(super) fn text_of(keys: &[Key], mut values: &[u8]) -> String {
    let mut out = String::new();
    for key in keys {
        let Some((length, rest)) = values.split_first_chunk::<4>() else { break };
        let length = (u32::from_be_bytes(*length) as usize).min(rest.len());
        let (value, rest) = rest.split_at(length);
        values = rest;
        let value = if value.is_empty() { "-".into() } else { String::from_utf8_lossy(value) };
        out.push_str(if out.is_empty() { "" } else { " " });
        out.push_str(key.as_str());
        out.push('=');
        out.push_str(&value);
    }
    out
}
