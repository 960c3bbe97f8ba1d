//! What is fuzzed, each as a function that panics when a promise is broken. The fuzzer calls them, and so does
//! `tests/integration/corpora.rs`, with every file of the corpora.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tidegate::decode::calico::cross_check;
use tidegate::decode::{Decoder, decode};
use tidegate::encode::record::{self, Class, Encoder, Format, Frame, MIN_DOCUMENT, MIN_RECORD};
use tidegate::encode::{ProcessArgs, ecs};
use tidegate::lane::{Before, Chunk, Outcomes, Sink as _, Source as _, Ticket};
use tidegate::model::{
    Action, Body, End, EndpointType, Event, FileKey, Flow, LineId, Origin, Policies, Process, Reporter, Service, Text,
    ZonePair,
};
use tidegate::query::Query;
use tidegate::sink::elastic::outcome::{self, Verdict};
use tidegate::sink::syslog::{self, Target as Receiver};
use tidegate::source::checkpoint::{Loaded, Store};
use tidegate::source::spool;
use tidegate::source::tail::{Config, FileSource, SourceConfig, Start};

pub type Target = fn(&[u8]);

pub const TARGETS: [(&str, Target); 11] = [
    ("decode", decode_line),
    ("gzip", gzip_reader),
    ("checkpoint", checkpoint),
    ("spool", damaged_spool),
    ("response", bulk_response),
    ("cef", cef_round_trip),
    ("leef", leef_record),
    ("structured-data", structured_data_element),
    ("ecs-json", ecs_line),
    ("rfc5424", rfc5424_frame),
    ("query", query_form),
];

/// A line never panics; the scanner and the pass that defines what is right agree on it; what it says is the same whatever the scratch held before; what is a flow is a JSON object for
/// another parser too; and its document is one line of valid JSON.
fn decode_line(line: &[u8]) {
    // No line holds a newline.
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    thread_local!(static USED: RefCell<Decoder> = RefCell::default());
    USED.with_borrow_mut(|used| cross_check(line, used));
    let (mut clean, mut dirty) = (String::new(), "what was here before".to_owned());
    let (first, second) = (decode(line, &mut clean), decode(line, &mut dirty));
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    let flow = match &first {
        Ok(flow) => flow,
        Err(error) => {
            assert!(matches!(error.kind, "not_json" | "not_a_flow"), "{}", error.kind);
            return;
        }
    };
    let mut document = Vec::new();
    let mut encoder = ecs::Encoder::new(ecs::Config::default());
    encoder.encode(&Event { origin: origin(line), body: Body::Flow(flow), zones: None }, &mut document);
    if flow.escape_free {
        let (mut escaped, flow) = (Vec::new(), Flow { escape_free: false, ..flow.clone() });
        encoder.encode(&Event { origin: origin(line), body: Body::Flow(&flow), zones: None }, &mut escaped);
        assert!(document == escaped, "what is said to need no escape needs none");
    }
    assert!(!document.contains(&b'\n'), "a document is one line");
    let document: Value = serde_json::from_slice(&document).expect("a document is JSON");
    assert!(document["@timestamp"].is_string() && document["event"].is_object());
}

fn origin(line: &[u8]) -> Origin<'static> {
    let id = LineId::new(Some(1), FileKey(1), 0, line);
    Origin { cluster: "c", node: "n", path: None, offset: 0, id, read_at_ms: Some(1_700_000_000_000) }
}

/// The whole lines of a gzip file, as far as another reader gets, are what the source hands out, in order.
fn gzip_reader(data: &[u8]) {
    let dir = folder("gzip");
    let path = dir.join("flows.log.gz");
    std::fs::write(&path, data).expect("a file");
    let mut text = Vec::new();
    let good = MultiGzDecoder::new(data).take(8 << 20).read_to_end(&mut text).is_ok();
    let rule = SourceConfig { path, rotated: Some(Vec::new()), start: Start::Oldest, max_line: 1 << 20 };
    let mut source = open(&dir, rule);
    source.wake();
    let (mut chunk, mut lines) = (Chunk::default(), Vec::new());
    while lines.len() < 8 << 20 && source.next(&mut chunk) {
        // Before it, only a hole may have been passed.
        assert!(chunk.offset >= lines.len() as u64, "no line is handed out twice");
        lines.resize(chunk.offset as usize, 0);
        lines.extend_from_slice(chunk.bytes());
    }
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    // A hole at the end is passed before anybody knows whether a line follows.
    lines
        .truncate(lines.len().min(whole.max(lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1))));
    if text.len() < 1 << 20 && good {
        assert!(lines == text[..whole], "{} bytes of lines, not {whole}", lines.len());
    } else if text.len() < 1 << 20 {
        // Where the data are damaged, both give what they have before that; how far that is may differ.
        let both = lines.len().min(text.len());
        assert!(lines[..both] == text[..both], "other bytes than are in the file");
    }
}

fn open(dir: &Path, rule: SourceConfig) -> FileSource {
    let spool = spool::Config { dir: dir.join("spool"), max_size: 1 << 20, when_full: spool::WhenFull::Hold };
    let config = Config {
        sources: vec![rule],
        cluster: "c".to_owned(),
        node: "n".to_owned(),
        spool,
        watched: Default::default(),
    };
    FileSource::open(config, Store::new(dir, "fuzz")).expect("a checkpoint of ours, or none")
}

/// The rest of a deleted file, damaged: three bytes say where and what, a fourth whether the part ends there. What is
/// handed out is what stood there, in whole lines.
fn damaged_spool(data: &[u8]) {
    const LINES: usize = 40;
    let text: String =
        (0..LINES).map(|n| format!("{{\"proto\":\"tcp\",\"n\":{n},\"x\":\"{:>1$}\"}}\n", n, n * 7)).collect();
    let dir = folder("spool");
    let path = dir.join("flows.log");
    std::fs::write(&path, &text).expect("a file");
    let rule = SourceConfig { path: path.clone(), rotated: Some(Vec::new()), start: Start::Oldest, max_line: 1 << 20 };
    let mut source = open(&dir, rule.clone());
    let mut chunk = Chunk::default();
    source.wake();
    assert!(source.next(&mut chunk), "the file is read");
    std::fs::remove_file(&path).expect("it is there");
    source.part();
    source.persist(None).expect("a disk");
    drop(source);
    let part = std::fs::read_dir(dir.join("spool")).expect("a spool").next().expect("a part").expect("an entry").path();
    let mut bytes = std::fs::read(&part).expect("a part");
    for change in data.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len().max(1);
        if change[3] % 8 == 7 {
            bytes.truncate(at);
        } else if let Some(byte) = bytes.get_mut(at) {
            *byte ^= change[2];
        }
    }
    std::fs::write(&part, &bytes).expect("a disk");
    let mut source = open(&dir, rule);
    source.wake();
    let mut reads = 0;
    while source.next(&mut chunk) {
        let (from, lines) = (chunk.offset as usize, chunk.bytes());
        assert_eq!(text.as_bytes().get(from..from + lines.len()), Some(lines), "other bytes than were there");
        assert!(lines.is_empty() || lines.ends_with(b"\n"), "whole lines");
        reads += 1;
        assert!(reads <= 2 * LINES, "it comes to an end");
    }
    if data.len() < 4 {
        assert!(reads > 0, "an undamaged part is read");
    }
}

/// One folder a process, in memory where there is such a place.
fn folder(name: &str) -> PathBuf {
    thread_local!(static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) });
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| {
            let builder = || tempfile::Builder::new().prefix("tidegate-fuzz-").to_owned();
            builder().tempdir_in("/dev/shm").or_else(|_| builder().tempdir()).expect("a folder")
        });
        let dir = folder.path().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder");
        dir
    })
}

/// Any bytes are a checkpoint, a lost one, or one of another version that is left as it is; what was read comes back as it
/// was when it is saved.
fn checkpoint(data: &[u8]) {
    let dir = folder("checkpoint");
    let path = dir.join("lane.json");
    std::fs::write(&path, data).expect("a file");
    let mut store = Store::new(&dir, "lane");
    let mut records = Vec::new();
    match store.load(|record| records.push(record)) {
        Ok(Loaded::Saved(saved)) => {
            // Of a damaged file's two records of one number, the later is right.
            let mut unique = BTreeMap::new();
            records.into_iter().for_each(|record| drop(unique.insert(record.id, record)));
            store.save(unique.values().cloned(), saved.note.as_deref()).expect("a disk");
            let mut again = BTreeMap::new();
            let loaded = store.load(|record| drop(again.insert(record.id, record))).expect("our own");
            let Loaded::Saved(loaded) = loaded else { panic!("it was saved") };
            assert_eq!((again, loaded.note), (unique, saved.note));
        }
        Ok(Loaded::Lost) => assert!(!path.exists(), "what is damaged is set aside"),
        Ok(Loaded::Nothing) => panic!("there was one"),
        Err(_) => assert_eq!(std::fs::read(&path).expect("left"), data),
    }
}

/// Two bytes choose status and number of documents, one whether the answer was cut; the rest is the answer.
fn bulk_response(data: &[u8]) {
    const STATUSES: [u16; 16] = [200, 201, 299, 300, 400, 401, 403, 404, 408, 409, 413, 429, 500, 502, 503, 599];
    let [status, sent, cut, body @ ..] = data else { return };
    let (status, sent) = (STATUSES[usize::from(*status) % STATUSES.len()], usize::from(*sent).max(1));
    let body = if cut % 8 == 7 { outcome::Body::Cut(body) } else { outcome::Body::Whole(body) };
    match outcome::judge(status, body, sent) {
        Verdict::Items(items) => {
            assert!((200..300).contains(&status));
            let refused: Vec<u32> = items.rejected.iter().map(|(index, _)| *index).collect();
            let decided = items.delivered() as usize + items.retry.len() + items.hold.len() + refused.len();
            assert_eq!(decided, sent, "an outcome for each document, and no more");
            let mut all = [&items.retry[..], &items.hold, &refused].concat();
            for list in [&items.retry, &items.hold, &refused] {
                assert!(list.is_sorted(), "indices ascend");
            }
            all.sort_unstable();
            let count = all.len();
            all.dedup();
            assert!(all.len() == count && all.last().is_none_or(|last| (*last as usize) < sent), "one outcome each");
            assert_eq!(items.held.is_some(), !items.hold.is_empty());
        }
        Verdict::Split => assert!(status == 413 && sent > 1),
        Verdict::Refused(refusal) | Verdict::Lone(refusal) => {
            assert_eq!(sent, 1, "only one document alone can be refused as a request");
            assert!(refusal.reason.chars().count() <= outcome::REASON_CHARS + 1);
        }
        Verdict::Hold(_) | Verdict::Uncertain(_) => {}
    }
}

/// Text of the fields that others choose, out of the input's pieces.
struct Fields(Vec<String>);

impl Fields {
    fn new(data: &[u8]) -> Self {
        let mut all: Vec<_> =
            data.split(|byte| *byte == 0xff).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
        all.resize(12, String::new());
        Self(all)
    }

    fn text(&self, index: usize) -> Option<Text<'_>> {
        Some(Text::Borrowed(&self.0[index]))
    }

    fn end(&self, first: usize) -> End<'_> {
        End {
            name: self.text(first),
            name_aggr: self.text(first + 1),
            namespace: self.text(first + 2),
            kind: Some(EndpointType::Workload),
            ..End::default()
        }
    }

    fn flow(&self) -> Flow<'_> {
        Flow {
            end_time: Some(1_787_390_098),
            action: Some(Action::Deny),
            reporter: Some(Reporter::SRC),
            source: self.end(0),
            dest: self.end(3),
            service: Service { namespace: self.text(6), name: self.text(7), port_name: self.text(8), port: None },
            process: Process { name: self.text(9), args: vec![Text::Borrowed(&self.0[10])], ..Process::default() },
            policies: Policies {
                enforced: vec![Text::Owned(format!("0|a|a.{}|deny|0", self.0[1]))],
                ..Policies::default()
            },
            ..Flow::default()
        }
    }

    fn event<'a>(&'a self, flow: &'a Flow<'a>) -> Event<'a> {
        let zones = Some(ZonePair { source: "outer", dest: "inner" });
        Event { origin: origin(self.0[0].as_bytes()), body: Body::Flow(flow), zones }
    }
}

/// A strict parser takes the record; unescaped and escaped again it is the same; nothing in it begins another record.
fn cef_round_trip(data: &[u8]) {
    if let Some((record, _)) = encoded(data, MIN_RECORD, |_| Format::Cef) {
        check_cef(&record);
    }
}

/// One for each format, used again and again as a lane does.
fn with_encoder(format: Format, work: impl FnOnce(&mut Encoder)) {
    thread_local!(static ENCODERS: RefCell<Vec<(Format, Encoder)>> = const { RefCell::new(Vec::new()) });
    ENCODERS.with_borrow_mut(|encoders| {
        let place = encoders.iter().position(|(known, _)| *known == format).unwrap_or_else(|| {
            let process_args = ProcessArgs::Keep;
            let config = record::Config { format, process_args, ..record::Config::default() };
            encoders.push((format, Encoder::new(config)));
            encoders.len() - 1
        });
        work(&mut encoders[place].1);
    });
}

/// The record of a flow in a format that the first octet chooses, never longer than that octet allows.
fn encoded(data: &[u8], least: usize, format: impl Fn(u8) -> Format) -> Option<(String, u8)> {
    let [size, data @ ..] = data else { return None };
    let fields = Fields::new(data);
    let flow = fields.flow();
    let budget = least + usize::from(*size) * 64;
    let mut out = Vec::new();
    let frame = Frame { budget, sequence: (*size % 2 == 0).then_some(7) };
    with_encoder(format(*size), |encoder| {
        encoder.encode_flow(&fields.event(&flow), &flow, Class::of(&flow), frame, &mut out);
    });
    assert!(out.len() <= budget, "{} octets of {budget}", out.len());
    Some((String::from_utf8(out).expect("a record is UTF-8"), *size))
}

/// A strict parser takes the record: seven fields, then keys between the delimiter that the sixth names, with no pipe, no
/// `=` and no delimiter in a value.
fn leef_record(data: &[u8]) {
    let delimiter = |size: u8| if size % 4 < 2 { b'\t' } else { b'^' };
    let Some((record, size)) = encoded(data, MIN_RECORD, |size| Format::Leef { delimiter: delimiter(size) }) else {
        return;
    };
    let delimiter = char::from(delimiter(size));
    let lower = record.to_ascii_lowercase();
    assert!(lower.starts_with("leef:2.0|") && !lower[5..].contains("leef:") && !lower.contains("cef:0"), "{record}");
    let fields: Vec<&str> = record.split('|').collect();
    assert_eq!(fields.len(), 7, "{record}");
    assert_eq!(fields[5], if delimiter == '\t' { "x09" } else { "^" }, "{record}");
    assert!(!record.chars().any(|c| c.is_control() && c != delimiter), "{record:?}");
    let mut keys = Vec::new();
    for pair in fields[6].split(delimiter) {
        let parts: Vec<&str> = pair.split('=').collect();
        let [key, value] = parts[..] else { panic!("{pair:?} is no pair: {record}") };
        assert!(!key.is_empty() && key.bytes().all(|octet| octet.is_ascii_alphanumeric()), "{key:?}: {record}");
        assert!(!value.is_empty() && value.trim() == value, "{key} is {value:?}: {record}");
        assert!(!keys.contains(&key), "{key} stands twice: {record}");
        keys.push(key);
    }
    for key in ["sev", "devTime", "action", "count", "externalId", "srcZone", "dstZone"] {
        assert!(keys.contains(&key), "{key} is missing: {record}");
    }
}

/// A strict parser takes the element, unescaped and escaped again it is the same, and nothing stands in it twice.
fn structured_data_element(data: &[u8]) {
    let format = |size: u8| Format::StructuredData { enterprise_id: 32473, text: size % 4 < 2 };
    let Some((record, size)) = encoded(data, MIN_RECORD, format) else { return };
    assert!(!record.chars().any(char::is_control), "{record:?}");
    assert!(!record.to_ascii_lowercase().contains("cef:"), "{record}");
    let mut rest = record.strip_prefix("[flow@32473").expect("the SD-ID");
    let mut names = Vec::new();
    while let Some(param) = rest.strip_prefix(' ') {
        let (name, value) = param.split_once("=\"").expect("a name and a quote");
        assert!(!name.is_empty() && name.len() <= 32 && name.bytes().all(|octet| octet.is_ascii_alphanumeric()));
        let end = unescaped(value, '"').expect("a closing quote");
        let text = unescape_param(&value[..end]);
        let again = text.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
        assert_eq!(again, value[..end], "{name}");
        assert!(!text.is_empty() && text.trim() == text, "{name} is {text:?}");
        assert!(!names.contains(&name), "{name} stands twice: {record}");
        names.push(name);
        rest = &value[end + 1..];
    }
    let text = rest.strip_prefix(']').expect("the end of the element");
    assert_eq!(text.starts_with(" Cross-zone flow "), size % 4 < 2, "{record}");
    assert!(!text.is_empty() || size % 4 >= 2, "{record}");
    for name in ["class", "severity", "time", "action", "count", "externalId", "srcZone", "dstZone"] {
        assert!(names.contains(&name), "{name} is missing: {record}");
    }
}

fn unescape_param(value: &str) -> String {
    let (mut text, mut signs) = (String::new(), value.chars());
    while let Some(c) = signs.next() {
        text.push(match c {
            '\\' => match signs.next() {
                Some(c @ ('"' | '\\' | ']')) => c,
                other => panic!("the escape of {other:?} in {value:?}"),
            },
            c => c,
        });
    }
    text
}

/// One line of valid JSON without anything hidden.
fn ecs_line(data: &[u8]) {
    let Some((record, size)) = encoded(data, MIN_DOCUMENT, |size| Format::EcsJson { cookie: size % 4 < 2 }) else {
        return;
    };
    assert_eq!(record.starts_with("@cee: "), size % 4 < 2, "{record}");
    let document = record.strip_prefix("@cee: ").unwrap_or(&record);
    let json: serde_json::Value = serde_json::from_str(document).expect("JSON");
    assert!(json["event"]["id"].is_string() && json["observer"]["egress"]["zone"] == "inner", "{record}");
    assert!(!record.chars().any(char::is_control), "{record:?}");
    assert!(!record.to_ascii_lowercase().contains("cef:"), "{record}");
}

/// `CEF:0|…|` and keys, strictly by the standard.
fn check_cef(record: &str) {
    assert!(!record.chars().any(char::is_control), "{record:?}");
    let lower = record.to_ascii_lowercase();
    assert!(lower.starts_with("cef:0|") && !lower[4..].contains("cef:") && !lower.contains("leef:"), "{record}");
    let mut rest = record;
    for _ in 0..7 {
        let end = unescaped(rest, '|').expect("seven fields between pipes");
        assert!(end > 0, "an empty field: {record}");
        rest = &rest[end + 1..];
    }
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let end = unescaped(rest, '=').unwrap_or_else(|| panic!("no `=` after {rest:?} in {record}"));
        let key = &rest[..end];
        assert!(!key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric()), "{key:?} is no key: {record}");
        let value = &rest[end + 1..];
        // The value goes up to the last space before the next key.
        let stop = unescaped(value, '=').map_or(value.len(), |next| value[..next].rfind(' ').expect("a space"));
        let text = unescape(&value[..stop]);
        assert!(!text.is_empty() && text.trim_matches(' ') == text, "{key} is {text:?}");
        assert_eq!(escape(&text), value[..stop], "{key}");
        assert!(!keys.contains(&key), "{key} stands twice: {record}");
        keys.push(key);
        rest = value[stop..].strip_prefix(' ').unwrap_or_default();
    }
    for key in ["rt", "act", "cnt", "externalId", "cs4", "cs5"] {
        assert!(keys.contains(&key), "{key} is missing: {record}");
    }
}

/// Place of the next `sign` that no backslash escapes.
fn unescaped(text: &str, sign: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let found = c == sign && !escaped;
        escaped = c == '\\' && !escaped;
        found.then_some(at)
    })
}

fn unescape(value: &str) -> String {
    let (mut text, mut signs) = (String::new(), value.chars());
    while let Some(c) = signs.next() {
        text.push(match c {
            '\\' => match signs.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(c @ ('\\' | '=')) => c,
                other => panic!("the escape of {other:?} in {value:?}"),
            },
            c => c,
        });
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('=', "\\=").replace('\n', "\\n").replace('\r', "\\r")
}

/// What goes over the wire by octet counting is whole frames of RFC 5424 with a CEF record in each, whatever the host's name
/// and the flow say.
fn rfc5424_frame(data: &[u8]) {
    let fields = Fields::new(data);
    let flow = fields.flow();
    let sent = sent_over_tcp(&fields.0[11], &fields.event(&flow));
    let mut rest = std::str::from_utf8(&sent).expect("UTF-8");
    let mut frames = 0;
    while !rest.is_empty() {
        let (length, tail) = rest.split_once(' ').expect("a length and a space");
        assert!(length.len() <= 5 && !length.starts_with('0'), "MSG-LEN {length:?}");
        let (frame, tail) = tail.split_at(length.parse().expect("MSG-LEN is digits"));
        check_frame(frame);
        (rest, frames) = (tail, frames + 1);
    }
    assert_eq!(frames, 1);
}

/// RFC 5424 §6.
fn check_frame(frame: &str) {
    let mut parts = frame.splitn(7, ' ');
    let mut next = || parts.next().expect("seven parts");
    let priority = next();
    let number = priority.strip_prefix('<').and_then(|rest| rest.strip_suffix(">1")).expect("<PRI>1");
    assert!(number.parse::<u8>().is_ok_and(|number| number <= 191), "{priority}");
    let time = next();
    assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    for (name, most) in [("HOSTNAME", 255), ("APP-NAME", 48), ("PROCID", 128), ("MSGID", 32)] {
        let field = next();
        let good = !field.is_empty() && field.len() <= most && field.bytes().all(|byte| (33..=126).contains(&byte));
        assert!(good, "{name} is {field:?}");
    }
    let rest = next().strip_prefix("[meta sequenceId=\"").expect("the element meta");
    let (number, text) = rest.split_once("\"] ").expect("its end");
    assert!(number.parse::<u32>().is_ok_and(|number| (1..=0x7fff_ffff).contains(&number)), "{number}");
    check_cef(text);
}

/// One event through the real sink, over a connection of its own.
fn sent_over_tcp(hostname: &str, event: &Event<'_>) -> Vec<u8> {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        static LISTENER: TcpListener = TcpListener::bind("127.0.0.1:0").expect("a port");
    }
    let listener = LISTENER.with(|listener| listener.try_clone().expect("a handle"));
    let port = listener.local_addr().expect("an address").port();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("everything, then the end");
        let _ = stream.flush();
        all
    });
    let (wake, wakes) = channel();
    RUNTIME.with(|runtime| {
        let target = Receiver::Tcp { host: "127.0.0.1".to_owned(), port };
        let config = syslog::Config::new("siem-fuzz", target, hostname);
        let mut sink = syslog::sink(config, runtime.handle(), Outcomes::new(wake)).expect("a sink");
        sink.add(event, Before::Never);
        sink.seal(Ticket(0));
        sink.finish();
        runtime.block_on(async {
            while !wakes.try_iter().any(|wake| matches!(wake, tidegate::lane::Wake::Finished)) {
                tokio::time::sleep(std::time::Duration::from_micros(50)).await;
            }
        });
    });
    reader.join().expect("no panic")
}

/// A text is read or refused with places inside it; what is read prints itself as text that means the same, and can be
/// asked.
fn query_form(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let query = match Query::parse(text) {
        Ok(query) => query,
        Err(errors) => {
            assert!(!errors.0.is_empty());
            assert!(
                errors.0.iter().all(|error| text.is_char_boundary(error.offset) && error.line > 0 && error.column > 0)
            );
            return;
        }
    };
    let printed = query.to_string();
    // Its values are those of the text, quoted and with their units written out.
    if printed.len() <= tidegate::query::MAX_TEXT_BYTES {
        let again = Query::parse(&printed).unwrap_or_else(|errors| panic!("{printed}: {errors}"));
        assert_eq!(again.to_string(), printed);
        assert_eq!(again, query, "{printed}");
    }
    let fields = Fields::new(data);
    let flow = fields.flow();
    let event = fields.event(&flow);
    let negated = Query::parse(&format!("not ({printed})"));
    let holds = query.matches(&event);
    assert!(negated.is_err() || negated.is_ok_and(|negated| negated.matches(&event) != holds), "{printed}");
    assert!(query.zones().iter().all(|zone| text.is_char_boundary(zone.offset)));
}
