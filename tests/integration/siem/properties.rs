//! Whatever stands in the fields that others choose: a strict parser finds exactly our keys, each with the text made
//! harmless by the rules of the record's page, and never more octets than allowed.

use proptest::prelude::*;
use tidegate::encode::ProcessArgs;
use tidegate::encode::record::layout::Key;
use tidegate::encode::record::{Class, Config, Encoder, Field, Format, Frame, MIN_DOCUMENT, MIN_RECORD};
use tidegate::encode::{cef, leef, structured_data};
use tidegate::model::{
    Action, Body, End, EndpointType, Event, FileKey, Flow, LineId, Origin, Policies, Process, Reporter, Service, Text,
    ZonePair,
};

use super::golden;
use super::parsers::{strict, strict_leef, strict_sd};

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

/// A format made of facts, with its strict reader.
#[derive(Debug, Clone, Copy)]
struct Form {
    format: Format,
    keys: &'static [Key],
    parse: fn(&str) -> Vec<(String, String)>,
}

const CARET: Format = Format::Leef { delimiter: b'^' };

const FORMS: [Form; 5] = [
    Form { format: Format::Cef, keys: &cef::KEYS, parse: strict },
    Form { format: golden::LEEF, keys: &leef::KEYS, parse: |record| strict_leef(record, '\t') },
    Form { format: CARET, keys: &leef::KEYS, parse: |record| strict_leef(record, '^') },
    Form { format: golden::SD, keys: &structured_data::KEYS, parse: |record| strict_sd(record).0 },
    Form {
        format: Format::StructuredData { enterprise_id: 1, text: false },
        keys: &structured_data::KEYS,
        parse: |record| strict_sd(record).0,
    },
];

impl Form {
    fn name(&self, field: Field) -> Option<&'static str> {
        self.keys.iter().find(|key| key.field == field).map(|key| key.name)
    }

    /// The rules again, written for reading and not for speed: what a parser should give for this text.
    fn harmless(&self, text: &str, cut: usize) -> String {
        let is_cef = self.format == Format::Cef;
        let mut value = String::new();
        let mut octets = 0;
        for c in text.trim_start().chars() {
            let c = match (self.format, c) {
                (Format::Cef, c) => c,
                (_, '\n' | '\r' | '\t') => ' ',
                (Format::Leef { .. }, '|') => ';',
                (Format::Leef { .. }, '=') => ':',
                (Format::Leef { delimiter }, c) if c == char::from(delimiter) => '_',
                (_, c) => c,
            };
            let token = value.to_ascii_lowercase();
            let c = match c {
                '\n' | '\r' if is_cef => c,
                ':' if token.ends_with("cef") || token.ends_with("leef") => '_',
                c if c.is_control() => '?',
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => '?',
                '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => '?',
                c => c,
            };
            let escaped = match self.format {
                Format::Cef => matches!(c, '\n' | '\r' | '\\' | '='),
                Format::StructuredData { .. } => matches!(c, '"' | '\\' | ']'),
                _ => false,
            };
            octets += if escaped { 2 } else { c.len_utf8() };
            if octets > cut {
                break;
            }
            value.push(c);
        }
        value.trim_end().to_owned()
    }
}

fn forms() -> impl Strategy<Value = Form> {
    proptest::sample::select(FORMS.to_vec())
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
    fn expected(&self, form: Form) -> Vec<(&'static str, String)> {
        let f = &self.0;
        let rule = self.flow().deciding().map(|hit| hit.raw.split_once('|').map_or("", |(_, rest)| rest).to_owned());
        let raw = [
            (Field::Application, f[8].clone()),
            (Field::SourceHost, f[0].clone()),
            (Field::DestinationHost, f[3].clone()),
            (Field::Service, format!("{}/{}:{}", f[6], f[7], f[8])),
            (Field::SourceProcess, format!("{} {}", f[9], f[10])),
            (Field::Rule, rule.unwrap_or_default()),
            (Field::SourceWorkload, format!("{}/{}", f[2], f[1])),
            (Field::DestinationWorkload, format!("{}/{}", f[5], f[4])),
        ];
        let named = raw
            .into_iter()
            .map(|(field, text)| (form.name(field).expect("a key"), form.harmless(&text, field.spec().cut)));
        named.filter(|(_, text)| !text.is_empty()).collect()
    }

    fn encode(&self, format: Format, budget: usize, sequence: Option<u32>) -> String {
        let flow = self.flow();
        let id = LineId::new(Some(1), FileKey(1), 0, b"x");
        let origin = Origin { cluster: "c", node: "n", path: None, offset: 0, id, read_at_ms: None };
        let zones = Some(ZonePair { source: "a", dest: "b" });
        let event = Event { origin, body: Body::Flow(&flow), zones };
        let mut encoder = Encoder::new(Config { format, process_args: ProcessArgs::Keep, ..Config::default() });
        let mut out = b"before ".to_vec();
        encoder.encode_flow(&event, &flow, Class::of(&flow), Frame { budget, sequence }, &mut out);
        String::from_utf8(out.split_off(7)).expect("UTF-8")
    }
}

/// What this flow's records hold beside the texts of others.
const FIXED: [Field; 17] = [
    Field::Class,
    Field::Severity,
    Field::Time,
    Field::End,
    Field::Action,
    Field::Outcome,
    Field::Count,
    Field::Direction,
    Field::Reason,
    Field::Category,
    Field::Node,
    Field::Sensor,
    Field::Id,
    Field::SourceZone,
    Field::DestinationZone,
    Field::Cluster,
    Field::Truncated,
];

proptest! {
    #[test]
    fn a_parser_finds_what_was_meant(fields in fields(), form in forms()) {
        let record = fields.encode(form.format, 1 << 20, None);
        let fixed: Vec<&str> = FIXED.iter().filter_map(|&field| form.name(field)).collect();
        let chosen: Vec<(String, String)> = (form.parse)(&record)
            .into_iter()
            .filter(|(key, _)| !fixed.contains(&&**key) && !key.ends_with("Label"))
            .collect();
        let expected: Vec<_> = fields.expected(form).into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
        prop_assert_eq!(&chosen, &expected, "{}", record);
        let behind = record.split_once(':').map_or("", |(_, behind)| behind).to_ascii_lowercase();
        prop_assert!(!behind.contains("cef:") && !behind.contains("leef:"), "{}", record);
        let tab = if form.format == golden::LEEF { '\t' } else { ' ' };
        prop_assert!(!record.chars().any(|c| c.is_control() && c != tab), "{}", record);
    }

    #[test]
    fn a_record_is_never_too_long(
        fields in fields(), form in forms(), budget in MIN_RECORD..4096, sequence: Option<u32>,
    ) {
        let whole = fields.encode(form.format, 1 << 20, sequence);
        let record = fields.encode(form.format, budget, sequence);
        prop_assert!(record.len() <= budget, "{} of {budget}: {record}", record.len());
        let (all, kept) = ((form.parse)(&whole), (form.parse)(&record));
        let own = form.name(Field::Truncated).expect("a key");
        let lost = all.iter().any(|pair| !kept.contains(pair));
        prop_assert!(kept.iter().any(|(key, _)| key == own) || !lost, "something is missing unmarked: {record}");
        prop_assert!(kept.iter().all(|pair| all.contains(pair) || pair.0 == own), "{record}");
        let must = [Field::Time, Field::Action, Field::Count, Field::Id, Field::SourceZone, Field::DestinationZone];
        for must in must.map(|field| form.name(field).expect("a key")) {
            prop_assert!(kept.iter().any(|(key, _)| key == must), "{must} is missing: {record}");
        }
        if let Some(name) = form.name(Field::Sequence) {
            prop_assert_eq!(kept.iter().any(|(key, _)| key == name), sequence.is_some());
        }
        // Facts leave by their order: none that stays may go before one that left.
        let drop_of = |name: &str| {
            form.keys.iter().find(|key| key.name == name).map_or(0, |key| key.field.spec().drop)
        };
        let left: u8 = all.iter().filter(|pair| !kept.contains(pair)).map(|(key, _)| drop_of(key)).max().unwrap_or(0);
        prop_assert!(kept.iter().all(|(key, _)| drop_of(key) == 0 || drop_of(key) > left), "{record}");
    }

    /// One line of valid JSON with nothing hidden in it, whatever the names are, and never too long.
    #[test]
    fn a_document_is_harmless_and_never_too_long(
        fields in fields(), budget in MIN_DOCUMENT - 400..6000_usize, sequence: Option<u32>, cookie: bool,
    ) {
        let record = fields.encode(Format::EcsJson { cookie }, budget, sequence);
        prop_assert!(record.len() <= budget, "{} of {budget}: {record}", record.len());
        prop_assert_eq!(record.starts_with("@cee: {"), cookie);
        let document = record.strip_prefix("@cee: ").unwrap_or(&record);
        let json: serde_json::Value = serde_json::from_str(document).expect("JSON");
        prop_assert_eq!(&json["event"]["action"], "flow_denied");
        prop_assert!(json["event"]["id"].is_string() && json["observer"]["ingress"]["zone"] == "a", "{record}");
        prop_assert_eq!(json["labels"]["tidegate_sequence"].is_string(), sequence.is_some());
        let whole = fields.encode(Format::EcsJson { cookie }, 1 << 20, sequence);
        prop_assert_eq!(json["labels"]["tidegate_truncated"].is_string(), whole.len() > budget);
        let lower = document.to_ascii_lowercase();
        prop_assert!(!lower.contains("cef:"), "{record}");
        let shown = |c: char| !c.is_control() && !matches!(c, '\u{202e}' | '\u{200b}' | '\u{feff}' | '\u{2028}');
        prop_assert!(document.chars().all(shown), "{record:?}");
        prop_assert!(!lower.contains("\\u00"), "{record}");
    }
}

#[test]
fn escapes_byte_for_byte() {
    let mut fields = Fields(std::array::from_fn(|_| String::new()));
    fields.0[0] = "sh -c \"x=1|y\" [C:\\t] src=6.6.6.6\nz".to_owned();
    for (format, expected) in [
        (Format::Cef, " shost=sh -c \"x\\=1|y\" [C:\\\\t] src\\=6.6.6.6\\nz "),
        (golden::LEEF, "\tsrcHost=sh -c \"x:1;y\" [C:\\t] src:6.6.6.6 z\t"),
        (CARET, "^srcHost=sh -c \"x:1;y\" [C:\\t] src:6.6.6.6 z^"),
        (golden::SD, " srcHost=\"sh -c \\\"x=1|y\\\" [C:\\\\t\\] src=6.6.6.6 z\" "),
    ] {
        let record = fields.encode(format, 8192, None);
        assert!(record.contains(expected), "{expected}\n{record}");
    }
}
