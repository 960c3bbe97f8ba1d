//! Reads one CEF record, strictly by the CEF Implementation Standard, and checks what a cross-zone record must say.

use super::is_id;
use crate::model::event::UNKNOWN_ZONE;

/// `CEF:0|vendor|product|version|class|name|severity|extension`, unescaped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cef {
    pub header: [String; 6],
    pub keys: Vec<(String, String)>,
}

/// Places in [`Cef::header`].
const CLASS: usize = 3;
const SEVERITY: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Deny,
}

/// A record of a flow, as far as the picture shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub verdict: Verdict,
    pub zones: (String, String),
    /// Address and workload of each end, whichever is there.
    pub source: String,
    pub dest: String,
    pub service: String,
    pub rule: String,
    /// As it came, without its syslog header.
    pub raw: String,
}

impl Cef {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.strip_prefix("CEF:0|").ok_or("it does not begin with CEF:0|")?;
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(format!("a raw control character {control:?}"));
        }
        let mut header: [String; 6] = Default::default();
        for field in &mut header {
            let end = header_end(rest)?;
            *field = unescape(&rest[..end], &['\\', '|'])?;
            rest = &rest[end + 1..];
        }
        Ok(Self { header, keys: keys(rest)? })
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.keys.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A record about a flow; others are heartbeats and the like.
    pub(super) fn is_flow(&self) -> bool {
        self.header[CLASS].starts_with("flow:")
    }

    /// What is wrong with a flow's record.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.header.iter().any(String::is_empty) {
            faults.push("an empty header field".to_owned());
        }
        if !self.header[SEVERITY].parse().is_ok_and(|severity: u8| severity <= 10) {
            faults.push(format!("severity {:?} is not 0 to 10", self.header[SEVERITY]));
        }
        let class = &self.header[CLASS];
        if !class.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":._-".contains(&byte)) {
            faults.push(format!("class {class:?} has characters that need escaping"));
        }
        let act = self.get("act");
        if !matches!(act, Some("allow" | "deny")) {
            faults.push(format!("act is {act:?}"));
        } else if !class.starts_with(&format!("flow:{}", act.unwrap_or_default())) && class != "flow:deny-staged" {
            faults.push(format!("class {class:?} and act {act:?} disagree"));
        }
        for (key, label, expected) in [("cs4", "cs4Label", "Source Zone"), ("cs5", "cs5Label", "Destination Zone")] {
            if self.get(label) != Some(expected)
                || self.get(key).is_none_or(|zone| zone.is_empty() || zone == UNKNOWN_ZONE)
            {
                faults.push(format!("{key} is {:?}, labelled {:?}", self.get(key), self.get(label)));
            }
        }
        if self.get("cs4") == self.get("cs5") {
            faults.push(format!("both zones are {:?}", self.get("cs4")));
        }
        if !self.get("externalId").is_some_and(is_id) {
            faults.push(format!("externalId is {:?}", self.get("externalId")));
        }
        for key in ["rt", "start", "end"] {
            if self.get(key).is_none_or(|ms| ms.len() != 13 || ms.parse::<u64>().is_err()) {
                faults.push(format!("{key} {:?} is not in epoch milliseconds", self.get(key)));
            }
        }
        for key in ["cnt", "in", "out"] {
            if self.get(key).is_none_or(|number| number.parse::<u64>().is_err()) {
                faults.push(format!("{key} is {:?}, not a number", self.get(key)));
            }
        }
        for key in ["spt", "dpt"] {
            if self.get(key).is_some_and(|port| port.parse::<u16>().is_err()) {
                faults.push(format!("{key} is {:?}, not a port", self.get(key)));
            }
        }
        faults
    }

    pub(super) fn record(&self, raw: &str) -> Record {
        let text = |key: &str| self.get(key).unwrap_or_default().to_owned();
        let end = |workload: &str, address: &str, v6: &str| {
            let parts = [self.get(workload), self.get(address).or(self.get(v6))];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        let service = match (self.get("proto"), self.get("dpt")) {
            (Some(proto), Some(port)) => format!("{proto}/{port}"),
            (Some(proto), None) => proto.to_owned(),
            _ => String::new(),
        };
        Record {
            verdict: if self.get("act") == Some("deny") { Verdict::Deny } else { Verdict::Allow },
            zones: (text("cs4"), text("cs5")),
            source: end("cs2", "src", "c6a2"),
            dest: end("cs3", "dst", "c6a3"),
            service,
            rule: text("cs1"),
            raw: raw.to_owned(),
        }
    }
}

/// Place of the next `|` that is not escaped.
fn header_end(text: &str) -> Result<usize, String> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'|' => return Ok(at),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    Err("fewer than seven | in the header".to_owned())
}

/// `key=value key=value`. An unescaped `=` ends a key, so the key is what stands between it and the space before.
fn keys(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or_else(|| format!("no = after {rest:?}"))?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("{key:?} is no key"));
        }
        if found.iter().any(|(name, _)| name == key) {
            return Err(format!("the key {key} stands twice"));
        }
        let (value, next) = match next_equals(after) {
            None => (after, ""),
            // The next key begins after the last space before its `=`.
            Some(equals) => {
                let space =
                    after[..equals].rfind(' ').ok_or_else(|| format!("an unescaped = in the value of {key}"))?;
                (&after[..space], &after[space + 1..])
            }
        };
        found.push((key.to_owned(), unescape(value, &['\\', '=', 'n', 'r'])?));
        rest = next;
    }
    Ok(found)
}

fn next_equals(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'=' => return Some(at),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    None
}

/// Takes escapes off; `legal` may follow a backslash, nothing else may.
fn unescape(text: &str, legal: &[char]) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(c) if legal.contains(&c) => out.push(match c {
                'n' => '\n',
                'r' => '\r',
                c => c,
            }),
            other => return Err(format!("the escape \\{} in {text:?}", other.map(String::from).unwrap_or_default())),
        }
    }
    Ok(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::document::tests::ID;
    use super::*;

    pub(in crate::demo::receivers) fn good() -> String {
        format!(
            "CEF:0|Tidegate|Tidegate|0.1.0|flow:deny|Cross-zone flow denied|6|rt=1787390098000 start=1787390088000 \
             end=1787390098000 act=deny src=10.42.0.10 dst=10.42.8.10 dpt=5432 proto=TCP cnt=1 in=60 out=0 \
             sproc=sh -c \"x\\=1|y\" C:\\\\t src\\=6.6.6.6\\nz externalId={ID} cs1Label=Rule cs1=app|ledger/app.x|deny|1 \
             cs2Label=Source Workload cs2=storefront/web-5-* cs4Label=Source Zone cs4=dmz cs5Label=Destination Zone \
             cs5=restricted"
        )
    }

    #[test]
    fn good_records() {
        let text = good();
        let cef = Cef::parse(&text).expect("a good record");
        assert_eq!(cef.faults(), Vec::<String>::new());
        assert_eq!(cef.get("sproc"), Some("sh -c \"x=1|y\" C:\\t src=6.6.6.6\nz"));
        assert_eq!(cef.get("cs2"), Some("storefront/web-5-*"));
        let record = cef.record(&text);
        assert_eq!((record.verdict, record.service.as_str()), (Verdict::Deny, "TCP/5432"));
        assert_eq!(record.source, "storefront/web-5-* 10.42.0.10");
        let escaped = Cef::parse("CEF:0|a\\|b|c\\\\|1|x|n|3|").expect("escapes of the header");
        assert_eq!(escaped.header, ["a|b", "c\\", "1", "x", "n", "3"]);
        assert!(!escaped.is_flow() && escaped.keys.is_empty());
    }

    #[test]
    fn syntax_can_be_broken() {
        let cases = [
            ("CEF:1|a|b|1|x|n|3|", "CEF:0|"),
            ("CEF: 0|a|b|1|x|n|3|", "CEF:0|"),
            ("CEF:0|a|b|1|x|n|3", "seven |"),
            ("CEF:0|a|b|1|x|n\\=|3|", "escape \\="),
            ("CEF:0|a|b|1|x|n|3|a", "no ="),
            ("CEF:0|a|b|1|x|n|3|a=1 =2", "is no key"),
            ("CEF:0|a|b|1|x|n|3|a=1=2", "unescaped ="),
            ("CEF:0|a|b|1|x|n|3|a.b=1", "is no key"),
            ("CEF:0|a|b|1|x|n|3|a=1 a=2", "twice"),
            ("CEF:0|a|b|1|x|n|3|a=x\\|y", "escape \\|"),
            ("CEF:0|a|b|1|x|n|3|a=x\\", "escape \\"),
            ("CEF:0|a|b|1|x|n|3|a=x\ty", "control"),
            ("CEF:0|a|b|1|x|n|3|a=\u{9b}31m", "control"),
        ];
        for (text, fault) in cases {
            let error = Cef::parse(text).expect_err(text);
            assert!(error.contains(fault), "{text}: {error:?} lacks {fault:?}");
        }
    }

    #[test]
    fn every_check_can_fail() {
        let cases = [
            ("|6|", "|11|", "severity"),
            ("|6|", "|High|", "severity"),
            ("|Tidegate|", "||", "empty header"),
            ("flow:deny|", "flow:deny%|", "class"),
            ("flow:deny|", "flow:allow|", "disagree"),
            ("act=deny", "act=drop", "act is"),
            ("cs4=dmz", "cs4=unknown", "cs4"),
            ("cs5=restricted", "cs5=", "cs5"),
            ("cs5=restricted", "cs5=dmz", "both zones"),
            ("Source Zone", "Zone", "cs4"),
            (ID, "short", "externalId"),
            ("rt=1787390098000", "rt=1787390098", "rt"),
            ("cnt=1 ", "", "cnt"),
            ("in=60", "in=-1", "in is"),
            ("dpt=5432", "dpt=https", "dpt"),
        ];
        for (from, to, fault) in cases {
            let text = good().replacen(from, to, 1);
            assert_ne!(text, good(), "{from} is not in the record");
            let faults = Cef::parse(&text).expect("still CEF").faults();
            assert!(faults.iter().any(|found| found.contains(fault)), "{to}: {faults:?} lacks {fault:?}");
        }
    }
}
