//! Whatever stands in the fields that others choose: a strict parser finds exactly our keys, each with the text made
//! harmless by the rules of the record's page, and never more octets than allowed.

use proptest::prelude::*;
use tidegate::encode::ProcessArgs;
use tidegate::encode::cef::{Class, Config, Encoder, Frame, MIN_RECORD, keys};
use tidegate::model::{
    Action, Body, End, EndpointType, Event, FileKey, Flow, LineId, Origin, Policies, Process, Reporter, Service, Text,
    ZonePair,
};

use super::parsers::strict;

/// Any text, with a liking for what breaks receivers.
fn hostile() -> impl Strategy<Value = String> {
    let bits = prop_oneof![
        4 => any::<char>().prop_map(String::from),
        4 => proptest::sample::select(vec![
            "\\", "=", "|", "\n", "\r", " ", "\t", "\0", "\u{1b}", "\u{202e}", "\u{200b}", "\u{feff}", "\u{85}", "\u{2028}",
            "CEF:", "CEF:0|a|b|", "cef:", "LEEF:2.0", "CEF", ":", " src=6.6.6.6", " act=allow", "<14>1 ", "é", "\u{1f600}",
        ]).prop_map(str::to_owned),
        2 => "[a-z0-9./-]{1,40}",
    ];
    proptest::collection::vec(bits, 0..60).prop_map(|bits| bits.concat())
}

/// The rules again, written for reading and not for speed: what a parser should give for these pieces.
fn harmless(text: &str, cut: usize) -> String {
    let mut value = String::new();
    let mut octets = 0;
    for c in text.trim_start().chars() {
        let token = value.to_ascii_lowercase();
        let c = match c {
            '\n' | '\r' => c,
            ':' if token.ends_with("cef") || token.ends_with("leef") => '_',
            c if c.is_control() => '?',
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => '?',
            '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => '?',
            c => c,
        };
        octets += if matches!(c, '\n' | '\r' | '\\' | '=') { 2 } else { c.len_utf8() };
        if octets > cut {
            break;
        }
        value.push(c);
    }
    value.trim_end().to_owned()
}

#[derive(Debug, Clone)]
struct Fields([String; 11]);

fn fields() -> impl Strategy<Value = Fields> {
    proptest::collection::vec(hostile(), 11).prop_map(|all| Fields(all.try_into().expect("eleven")))
}

impl Fields {
    fn text(&self, index: usize) -> Option<Text<'_>> {
        Some(Text::Borrowed(&self.0[index]))
    }

    fn end(&self, name: usize, aggregated: usize, namespace: usize) -> End<'_> {
        End {
            name: self.text(name),
            name_aggr: self.text(aggregated),
            namespace: self.text(namespace),
            kind: Some(EndpointType::Workload),
            ..End::default()
        }
    }

    fn flow(&self) -> Flow<'_> {
        Flow {
            end_time: Some(1_787_390_098),
            action: Some(Action::Deny),
            reporter: Some(Reporter::SRC),
            source: self.end(0, 1, 2),
            dest: self.end(3, 4, 5),
            service: Service { namespace: self.text(6), name: self.text(7), port_name: self.text(8), port: None },
            process: Process { name: self.text(9), args: vec![Text::Borrowed(&self.0[10])], ..Process::default() },
            policies: Policies {
                enforced: vec![Text::Owned(format!("0|a|a.{}|deny|0", self.0[1]))],
                ..Policies::default()
            },
            ..Flow::default()
        }
    }

    /// Key and text of everything that others choose.
    fn expected(&self) -> Vec<(&'static str, String)> {
        let f = &self.0;
        let rule = self.flow().deciding().map(|hit| hit.raw.split_once('|').map_or("", |(_, rest)| rest).to_owned());
        let raw = [
            (keys::Key::App, f[8].clone()),
            (keys::Key::Shost, f[0].clone()),
            (keys::Key::Dhost, f[3].clone()),
            (keys::Key::DestinationServiceName, format!("{}/{}:{}", f[6], f[7], f[8])),
            (keys::Key::Sproc, format!("{} {}", f[9], f[10])),
            (keys::Key::Rule, rule.unwrap_or_default()),
            (keys::Key::SourceWorkload, format!("{}/{}", f[2], f[1])),
            (keys::Key::DestinationWorkload, format!("{}/{}", f[5], f[4])),
        ];
        let named = raw.into_iter().map(|(key, text)| (key.spec().name, harmless(&text, key.spec().cut)));
        named.filter(|(_, text)| !text.is_empty()).collect()
    }

    fn encode(&self, budget: usize, sequence: Option<u32>) -> String {
        let flow = self.flow();
        let id = LineId::new(Some(1), FileKey(1), 0, b"x");
        let origin = Origin { cluster: "c", node: "n", path: None, offset: 0, id, read_at_ms: None };
        let zones = Some(ZonePair { source: "a", dest: "b" });
        let event = Event { origin, body: Body::Flow(&flow), zones };
        let mut encoder = Encoder::new(Config { process_args: ProcessArgs::Keep, ..Config::default() });
        let mut out = b"before ".to_vec();
        encoder.encode_flow(&event, &flow, Class::of(&flow), Frame { budget, sequence }, &mut out);
        String::from_utf8(out.split_off(7)).expect("UTF-8")
    }
}

const FIXED: [&str; 18] = [
    "rt",
    "end",
    "act",
    "outcome",
    "cnt",
    "deviceDirection",
    "reason",
    "cat",
    "dvchost",
    "deviceExternalId",
    "externalId",
    "cs4",
    "cs4Label",
    "cs5",
    "cs5Label",
    "cs6",
    "cs6Label",
    "TidegateTruncated",
];
const LABELS: [&str; 3] = ["cs1Label", "cs2Label", "cs3Label"];

proptest! {
    #[test]
    fn a_parser_finds_what_was_meant(fields in fields()) {
        let record = fields.encode(1 << 20, None);
        let found = strict(&record);
        let expected = fields.expected();
        let chosen: Vec<(&str, String)> = found
            .iter()
            .filter(|(key, _)| !FIXED.contains(&&**key) && !LABELS.contains(&&**key))
            .map(|(key, value)| (&**key, value.clone()))
            .collect();
        prop_assert_eq!(&chosen, &expected, "{}", record);
        prop_assert!(!record[4..].to_ascii_lowercase().contains("cef:"), "{}", record);
        prop_assert!(!record.chars().any(char::is_control), "{}", record);
    }

    #[test]
    fn a_record_is_never_too_long(fields in fields(), budget in MIN_RECORD..4096, sequence: Option<u32>) {
        let (whole, record) = (fields.encode(1 << 20, sequence), fields.encode(budget, sequence));
        prop_assert!(record.len() <= budget, "{} of {budget}: {record}", record.len());
        let (all, kept) = (strict(&whole), strict(&record));
        let lost = all.iter().any(|pair| !kept.contains(pair));
        let marked = kept.iter().any(|(key, _)| key == keys::TRUNCATED);
        prop_assert!(marked || !lost, "something is missing unmarked: {record}");
        prop_assert!(kept.iter().all(|pair| all.contains(pair) || pair.0 == keys::TRUNCATED), "{record}");
        for must in ["rt", "act", "cnt", "externalId", "cs4", "cs5"] {
            prop_assert!(kept.iter().any(|(key, _)| key == must), "{must} is missing: {record}");
        }
        prop_assert_eq!(kept.iter().any(|(key, _)| key == keys::SEQUENCE), sequence.is_some());
        // Keys leave by their order: none that stays may go before one that left.
        let drop_of = |name: &str| keys::KEYS.iter().find(|spec| spec.name == name).map_or(0, |spec| spec.drop);
        let left: u8 = all.iter().filter(|pair| !kept.contains(pair)).map(|(key, _)| drop_of(key)).max().unwrap_or(0);
        prop_assert!(kept.iter().all(|(key, _)| drop_of(key) == 0 || drop_of(key) > left), "{record}");
    }
}

#[test]
fn escapes_byte_for_byte() {
    let mut fields = Fields(std::array::from_fn(|_| String::new()));
    fields.0[0] = "sh -c \"x=1|y\" C:\\t src=6.6.6.6\nz".to_owned();
    let record = fields.encode(8192, None);
    assert!(record.contains(" shost=sh -c \"x\\=1|y\" C:\\\\t src\\=6.6.6.6\\nz "), "{record}");
}
