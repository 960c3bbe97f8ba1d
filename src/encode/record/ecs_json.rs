//! The ECS document of a flow as the text of a syslog message: on one line, harmless, and no longer than it may be.
//!
//! It is the document that Elasticsearch gets, with the rules of all records on top: what hides or turns text is replaced,
//! and so is `CEF:` in a value, since the message may pass receivers that look for it. A document that is too long is made
//! again of less, in a fixed order: without labels and unknown fields; without lists but for the deciding policy; with
//! names cut; and at last without any text of others. It then says so in `labels.tidegate_truncated`.

use super::text::{ends_a_token, is_hidden};
use super::{Frame, Marks};
use crate::encode::{ProcessArgs, ecs, json};
use crate::model::find;
use crate::model::flow::{End, Policies, Process, Service, TcpStats};
use crate::model::{Body, Event, Flow, Origin, Text, ZonePair};

/// lumberjack's word for "what follows is JSON".
const COOKIE: &[u8] = b"@cee: ";

/// What is left of a document that is too long, step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Less {
    Labels,
    Lists,
    /// Names and texts of so many octets at most.
    Names(usize),
    /// No text that others chose, and our own names of so many octets.
    Texts(usize),
}

const STEPS: [Less; 5] = [Less::Labels, Less::Lists, Less::Names(128), Less::Names(32), Less::Texts(32)];

#[derive(Debug)]
pub(super) struct EcsJson {
    encoder: ecs::Encoder,
    cookie: bool,
}

/// What the document says of its own making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Labels {
    marks: Marks,
    sequence: Option<u32>,
    truncated: bool,
}

/// Adds what a record says of its own making to the document of a flow that ends `out`.
pub fn mark_document(marks: Marks, out: &mut Vec<u8>) {
    Labels { marks, ..Labels::default() }.put_behind(out);
}

impl Labels {
    fn put_behind(self, out: &mut Vec<u8>) {
        if self == Self::default() {
            return;
        }
        // The document's own end gives way to one more object.
        out.pop();
        out.extend_from_slice(b",\"labels\":{");
        self.write(out);
        json::end(out, b'}');
        json::finish(out, b'}');
    }

    fn write(self, out: &mut Vec<u8>) {
        let mut number = |key: &[u8], number: Option<u32>| {
            if let Some(number) = number {
                json::text(out, key, itoa::Buffer::new().format(number));
            }
        };
        number(b"\"tidegate_truncated\":", self.truncated.then_some(1));
        number(b"\"tidegate_aggregated\":", self.marks.aggregated.then_some(1));
        number(b"\"tidegate_sample_rate\":", self.marks.sample_rate);
        number(b"\"tidegate_sequence\":", self.sequence);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Done {
    pub(super) truncated: bool,
    pub(super) sanitised: bool,
}

impl EcsJson {
    pub(super) fn new(process_args: ProcessArgs, cookie: bool) -> Self {
        let config = ecs::Config { process_args, ..ecs::Config::default() };
        Self { encoder: ecs::Encoder::new(config), cookie }
    }

    pub(super) fn write(
        &mut self,
        event: &Event<'_>,
        flow: &Flow<'_>,
        frame: Frame,
        marks: Marks,
        out: &mut Vec<u8>,
    ) -> Done {
        let start = out.len();
        let labels = Labels { marks, sequence: frame.sequence, truncated: false };
        let mut done = self.document(event, labels, out);
        for less in STEPS {
            if out.len() - start <= frame.budget {
                break;
            }
            out.truncate(start);
            done = self.less(event, flow, less, Labels { truncated: true, ..labels }, out);
        }
        done
    }

    fn less(&mut self, event: &Event<'_>, flow: &Flow<'_>, less: Less, labels: Labels, out: &mut Vec<u8>) -> Done {
        let flow = of_less(flow, less);
        let origin = Origin { path: None, ..event.origin };
        let mut event = Event { origin, body: Body::Flow(&flow), zones: event.zones };
        if let Less::Texts(most) = less {
            event.origin.node = json::cut(event.origin.node, most);
            event.origin.cluster = json::cut(event.origin.cluster, most);
            event.zones = event
                .zones
                .map(|zones| ZonePair { source: json::cut(zones.source, most), dest: json::cut(zones.dest, most) });
        }
        self.document(&event, labels, out)
    }

    fn document(&mut self, event: &Event<'_>, labels: Labels, out: &mut Vec<u8>) -> Done {
        self.wrap(labels, out, |encoder, out| encoder.encode(event, out))
    }

    /// What stands around a document and is done to it.
    pub(super) fn wrap(
        &mut self,
        labels: Labels,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut ecs::Encoder, &mut Vec<u8>),
    ) -> Done {
        if self.cookie {
            out.extend_from_slice(COOKIE);
        }
        let start = out.len();
        write(&mut self.encoder, out);
        let sanitised = make_harmless(out, start);
        labels.put_behind(out);
        Done { truncated: labels.truncated, sanitised }
    }
}

fn of_less<'f>(flow: &'f Flow<'_>, less: Less) -> Flow<'f> {
    let most = match less {
        Less::Labels | Less::Lists => usize::MAX,
        Less::Names(most) => most,
        Less::Texts(_) => 0,
    };
    let text = |text: &'f Text<'_>| Text::Borrowed(json::cut(text, most));
    let name = |name: &'f Option<Text<'_>>| name.as_ref().map(text).filter(|text| !text.is_empty());
    let texts = |texts: &'f [Text<'_>]| texts.iter().map(text).filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let end = |end: &'f End<'_>| End {
        ip: end.ip,
        port: end.port,
        name: name(&end.name),
        name_aggr: name(&end.name_aggr),
        namespace: name(&end.namespace),
        kind: end.kind,
        labels: Vec::new(),
    };
    let lists = less == Less::Labels;
    let policies = if lists {
        Policies {
            enforced: texts(&flow.policies.enforced),
            all: texts(&flow.policies.all),
            pending: texts(&flow.policies.pending),
            transit: texts(&flow.policies.transit),
        }
    } else {
        let deciding = flow.deciding().map(|hit| Text::Borrowed(json::cut(hit.raw, most)));
        Policies { enforced: deciding.into_iter().filter(|text| !text.is_empty()).collect(), ..Policies::default() }
    };
    Flow {
        start_time: flow.start_time,
        end_time: flow.end_time,
        timestamp_ms: flow.timestamp_ms,
        source: end(&flow.source),
        dest: end(&flow.dest),
        service: Service {
            namespace: name(&flow.service.namespace),
            name: name(&flow.service.name),
            port_name: name(&flow.service.port_name),
            port: flow.service.port,
        },
        dest_domains: texts(if lists {
            &flow.dest_domains
        } else {
            &flow.dest_domains[..flow.dest_domains.len().min(1)]
        }),
        nat_outgoing_ports: if lists { flow.nat_outgoing_ports.clone() } else { Vec::new() },
        process: Process {
            name: name(&flow.process.name),
            id: name(&flow.process.id),
            args: if lists { texts(&flow.process.args) } else { Vec::new() },
            ..Process::default()
        },
        policies,
        original_source_ips: if lists { flow.original_source_ips.clone() } else { Vec::new() },
        tcp: if lists { flow.tcp } else { TcpStats::default() },
        protocol: flow.protocol,
        action: flow.action,
        reporter: flow.reporter,
        bytes_in: flow.bytes_in,
        bytes_out: flow.bytes_out,
        packets_in: flow.packets_in,
        packets_out: flow.packets_out,
        num_flows: flow.num_flows,
        num_flows_started: flow.num_flows_started,
        num_flows_completed: flow.num_flows_completed,
        http_requests_allowed_in: flow.http_requests_allowed_in,
        http_requests_denied_in: flow.http_requests_denied_in,
        num_original_source_ips: flow.num_original_source_ips,
        host: name(&flow.host),
        escape_free: flow.escape_free,
        extra: Vec::new(),
    }
}

/// Nothing in it needs a second look: printable ASCII without escapes, and no colon that might end a token.
fn is_harmless(text: &[u8]) -> bool {
    let odd = find::any(text, |octet| !matches!(octet, b' '..=b'~') | (octet == b'\\'));
    !odd && [b"F:", b"f:"].into_iter().all(|end| memchr::memmem::find(text, end).is_none())
}

/// Replaces what no record may hold, in valid JSON from `start` to the end. It stays valid JSON, and never grows.
fn make_harmless(out: &mut Vec<u8>, start: usize) -> bool {
    !is_harmless(&out[start..]) && replace(out, start)
}

fn replace(out: &mut Vec<u8>, start: usize) -> bool {
    let suspect = |octet: u8| !matches!(octet, b' '..=b'~') || matches!(octet, b'\\' | b':');
    let mut read = start;
    let mut write = start;
    let mut sanitised = false;
    while read < out.len() {
        let octet = out[read];
        if !suspect(octet) {
            out[write] = octet;
            (read, write) = (read + 1, write + 1);
            continue;
        }
        let (length, hidden) = look(&out[read..]);
        let token = octet == b':' && ends_a_token(&out[start..write]);
        match () {
            () if token => out[write] = b'_',
            () if hidden => out[write] = b'?',
            // Between tokens of JSON that the log's writer laid out.
            () if octet < b' ' => out[write] = b' ',
            () => {
                out.copy_within(read..read + length, write);
                write += length - 1;
            }
        }
        sanitised |= token || hidden;
        (read, write) = (read + length, write + 1);
    }
    out.truncate(write);
    sanitised
}

/// Octets of the first character or escape of `text`, and whether no record may hold it.
fn look(text: &[u8]) -> (usize, bool) {
    match text {
        [b'\\', b'u', hex @ ..] => {
            let code = hex.get(..4).and_then(|hex| u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
            let c = code.and_then(char::from_u32);
            // Line ends and tabs that are written as numbers are no worse than `\n`.
            (6.min(text.len()), c.is_some_and(|c| is_hidden(c) && !matches!(c, '\n' | '\r' | '\t')))
        }
        [b'\\', ..] => (2.min(text.len()), false),
        [0..=0x7e, ..] => (1, false),
        [0x7f, ..] => (1, true),
        _ => {
            let length = text.iter().skip(1).take_while(|&&octet| octet & 0xc0 == 0x80).count() + 1;
            let c = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.chars().next());
            (length, c.is_none_or(is_hidden))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_harmless_stays(text in r#"[ -~]{0,100}|[CLEFcef:"]{0,20}|(?s).{0,20}"#) {
            let mut out = text.clone().into_bytes();
            if is_harmless(&out) {
                prop_assert!(!replace(&mut out, 0));
                prop_assert_eq!(out, text.into_bytes());
            }
        }
    }

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let mut out = b"CEF".to_vec();
        out.extend_from_slice(json.as_bytes());
        let sanitised = make_harmless(&mut out, 3);
        assert_eq!(String::from_utf8(out.split_off(3)).unwrap(), expected);
        assert_eq!(sanitised, json.trim() != expected.trim() && !json.contains('\t'));
        serde_json::from_str::<serde_json::Value>(expected).unwrap();
    }

    #[test]
    fn json_is_made_harmless() {
        check(r#"{"a":"b","c":[1,{"d":null}]}"#, r#"{"a":"b","c":[1,{"d":null}]}"#);
        check(r#"{"a":"\"\\ é \n\t\u000a"}"#, r#"{"a":"\"\\ é \n\t\u000a"}"#);
        check(r#"{"a":"\u001b[2J\u202e"}"#, r#"{"a":"?[2J?"}"#);
        check("{\"a\":\"x\u{202e}y\u{7f}\u{85}\u{feff}\"}", r#"{"a":"x?y??"}"#.replace("??\"", "???\"").as_str());
        check(r#"{"a":"CEF:0|x|LEEF:2.0|ceF:","CEF":1}"#, r#"{"a":"CEF_0|x|LEEF_2.0|ceF_","CEF":1}"#);
        check("{\"a\":{\t\"b\":1}}", "{\"a\":{ \"b\":1}}");
        check(r#"{"a":"\ud83d\ude00"}"#, r#"{"a":"\ud83d\ude00"}"#);
    }
}
