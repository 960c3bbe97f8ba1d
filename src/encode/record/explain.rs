//! What became of each fact on its way into a record, for people.

use std::net::IpAddr;

use super::field::{COUNT, Field};
use super::tell::{self, Tell};
use super::text::{Writer, Written};
use super::{BodyWriter, Class, Encoder, Facts, Frame, Record};
use crate::model::{Event, Flow};

/// One fact of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    pub field: Field,
    /// The key it has in this format; `None` where the head or the syslog header has it, or nothing.
    pub key: Option<String>,
    /// Of CEF's custom keys.
    pub label: Option<String>,
    /// The value before any rule was applied.
    pub value: String,
    /// As it stands in the record; `None`: it is not there.
    pub written: Option<String>,
    /// Written by an escape, or by what stands for it where the format knows no escapes.
    pub escaped: bool,
    /// A character that no record may hold was replaced.
    pub sanitised: bool,
    /// Longer than its limit, and cut.
    pub cut: bool,
    /// Left out because the record was too long.
    pub left_out: bool,
}

/// Facts as they are told.
#[derive(Default)]
struct Listener(Vec<(Field, String)>);

impl Listener {
    fn hear(&mut self, field: Field, value: String) {
        if !value.is_empty() {
            self.0.push((field, value));
        }
    }
}

impl Tell for Listener {
    fn join<'t>(&mut self, field: Field, pieces: impl IntoIterator<Item = &'t str> + Clone) {
        let value = pieces.into_iter().collect();
        self.hear(field, value);
    }

    fn number(&mut self, field: Field, value: Option<u64>) {
        if let Some(value) = value {
            self.hear(field, value.to_string());
        }
    }

    fn address(&mut self, field: Field, value: IpAddr) {
        self.hear(field, value.to_string());
    }
}

impl Encoder {
    /// What becomes of each fact of a flow in a record of this frame; nothing in ECS JSON, which has no facts of ours.
    pub fn explain(&self, event: &Event<'_>, flow: &Flow<'_>, class: &Class, frame: Frame) -> Vec<Explained> {
        let BodyWriter::Facts(facts) = &self.body else { return Vec::new() };
        let args = self.config.process_args;
        let mut listener = Listener::default();
        listener.text(Field::Class, Some(&class.id));
        listener.number(Field::Severity, Some(class.severity.into()));
        tell::flow(&mut listener, event, flow, class, args);
        let mut out = Vec::new();
        let tell = |record: &mut Record<'_>| tell::flow(record, event, flow, class, args);
        let mut spans = [const { 0..0 }; COUNT];
        facts.write(class, frame, &mut out, tell, |_| {}, Some(&mut spans));
        let of_record = [(Field::Truncated, "1".to_owned()), (Field::Sequence, String::new())];
        let own = of_record.into_iter().filter(|(field, _)| spans[*field as usize].start < spans[*field as usize].end);
        let heard = listener.0.into_iter().chain(own);
        heard.map(|(field, value)| facts.explained(field, value, &out[spans[field as usize].clone()])).collect()
    }
}

impl Facts {
    fn explained(&self, field: Field, value: String, span: &[u8]) -> Explained {
        let name = self.layout.name(field);
        let (key, label) = (name.map(|(key, _)| key.to_owned()), name.and_then(|(_, label)| label).map(str::to_owned));
        let became = self.rules_applied(field, &value);
        let written = (!span.is_empty()).then(|| {
            let prefix = self.layout.prefix(field).as_bytes();
            // The first key stands without a separator before it.
            let first = usize::from(!span.starts_with(&prefix[..1]));
            let value = &span[prefix.len() - first..span.len() - self.layout.suffix.len()];
            String::from_utf8_lossy(value).into_owned()
        });
        Explained {
            left_out: key.is_some() && written.is_none() && !became.empty,
            field,
            key,
            label,
            value,
            written,
            escaped: became.escaped,
            sanitised: became.sanitised,
            cut: became.cut,
        }
    }

    fn rules_applied(&self, field: Field, value: &str) -> Written {
        match field.spec().cut {
            // Numbers and addresses.
            0 => Written::default(),
            cut => Writer::new(&mut Vec::new(), &self.layout.rules, cut).push(value).finish(),
        }
    }
}
