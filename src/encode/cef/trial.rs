//! The test record: it looks like a flow's and says that it is none.
//!
//! Its class is [`TRIAL_CLASS`], its category `test`; the class that it stands for gives the severity, so that every way
//! of a rule can be tried. It has no zones, no addresses and no `externalId`: nothing that counts flows finds one in it.

use super::{Class, Config, head};
use crate::encode::record::text::{Rules, Style, Writer};

/// The `deviceEventClassId` of test records: what a rule excludes.
pub const TRIAL_CLASS: &str = "test";

/// What a test record says.
#[derive(Debug)]
pub struct Trial<'a> {
    pub config: &'a Config,
    /// The class whose place it takes.
    pub class: &'a Class,
    pub cluster: &'a str,
    pub node: &'a str,
    /// Unix milliseconds.
    pub time_ms: i64,
}

static VALUE: Rules = Rules::new(Style::CefValue);

impl Trial<'_> {
    /// In words.
    pub fn message(&self) -> String {
        format!("Tidegate test record in place of {}; no flow stands behind it", self.class.id)
    }

    /// Appends it without a syslog header.
    pub fn write(&self, out: &mut Vec<u8>) {
        let class = Class { id: TRIAL_CLASS.into(), name: "Tidegate test record".into(), ..self.class.clone() };
        out.extend_from_slice(&head(self.config, &class));
        out.extend_from_slice(format!("rt={} cat=test", self.time_ms).as_bytes());
        let place = format!("{}/{}", self.cluster, self.node);
        let rows =
            [(" dvchost=", self.node, 100), (" deviceExternalId=", &place, 255), (" msg=", &self.message(), 1023)];
        for (key, value, cut) in rows {
            out.extend_from_slice(key.as_bytes());
            Writer::new(out, &VALUE, cut).push(value).finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::cef::CLASSES;

    #[test]
    fn one_of_each_class_and_never_a_flow() {
        let config = Config { version: "9.9.9".to_owned(), ..Config::default() };
        for class in &CLASSES {
            let mut out = Vec::new();
            Trial { config: &config, class, cluster: "c=1", node: "n", time_ms: 1_787_390_098_000 }.write(&mut out);
            let expected = format!(
                "CEF:0|Tidegate|Tidegate|9.9.9|test|Tidegate test record|{}|rt=1787390098000 cat=test dvchost=n \
                 deviceExternalId=c\\=1/n msg=Tidegate test record in place of {}; no flow stands behind it",
                class.severity, class.id
            );
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
