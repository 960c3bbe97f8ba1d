//! The kinds of records: what a SIEM routes and rates by.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::flow::Action;
use crate::model::{Body, Event, Flow, ZonePair};
use crate::query::{Pattern, Query};

/// Rules of a destination, at most: each costs eight headers that are kept ready.
pub const MAX_RULES: usize = 64;

/// One kind of record (`mappings/record/fields.yaml` holds the table of those that nobody changed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// The CEF `deviceEventClassId`: letters, digits, `:`, `.`, `_` and `-` only.
    pub id: Cow<'static, str>,
    /// Constant text; no data of other fields.
    pub name: Cow<'static, str>,
    /// The name where the flow crosses no zones.
    pub within: &'static str,
    /// Of the CEF key `cat`.
    pub category: &'static str,
    /// CEF severity, 0 to 10.
    pub severity: u8,
    /// Syslog severity (RFC 5424 table 2): 4 warning, 5 notice, 6 informational.
    pub syslog_severity: u8,
    /// Of the CEF key `act`.
    pub act: Option<&'static str>,
    pub outcome: Option<&'static str>,
    pub reason: Option<&'static str>,
    /// Place in [`Classes::all`].
    pub index: usize,
}

const CROSS: &str = "traffic:cross-zone";
const WITHIN: &str = "traffic:flow";

pub static CLASSES: [Class; 4] = [
    Class {
        id: Cow::Borrowed("flow:allow"),
        name: Cow::Borrowed("Cross-zone flow allowed"),
        within: "Flow allowed",
        category: CROSS,
        severity: 3,
        syslog_severity: 6,
        act: Some("allow"),
        outcome: Some("success"),
        reason: None,
        index: 0,
    },
    Class {
        id: Cow::Borrowed("flow:deny"),
        name: Cow::Borrowed("Cross-zone flow denied"),
        within: "Flow denied",
        category: CROSS,
        severity: 6,
        syslog_severity: 4,
        act: Some("deny"),
        outcome: Some("failure"),
        reason: Some("policy-deny"),
        index: 1,
    },
    Class {
        id: Cow::Borrowed("flow:deny-staged"),
        name: Cow::Borrowed("Cross-zone flow allowed that a staged policy would deny"),
        within: "Flow allowed that a staged policy would deny",
        category: CROSS,
        severity: 4,
        syslog_severity: 5,
        act: Some("allow"),
        outcome: Some("success"),
        reason: Some("staged-policy-deny"),
        index: 2,
    },
    Class {
        id: Cow::Borrowed("flow:unknown"),
        name: Cow::Borrowed("Cross-zone flow without a verdict"),
        within: "Flow without a verdict",
        category: CROSS,
        severity: 4,
        syslog_severity: 5,
        act: None,
        outcome: None,
        reason: None,
        index: 3,
    },
];

/// A record that Tidegate makes of itself, or that is no flow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    Heartbeat,
    Start,
    Stop,
    Outage,
    Suppressed,
    /// In place of this verdict of [`CLASSES`].
    Test(usize),
}

const fn own(id: &'static str, name: &'static str, category: &'static str, severity: u8, syslog_severity: u8) -> Class {
    Class {
        id: Cow::Borrowed(id),
        name: Cow::Borrowed(name),
        within: name,
        category,
        severity,
        syslog_severity,
        act: None,
        outcome: None,
        reason: None,
        index: 0,
    }
}

/// The `deviceEventClassId` of test records: what a rule excludes.
pub const TEST_CLASS: &str = "test";

/// In the order of [`Own`].
pub static OWN_CLASSES: [Class; 6] = [
    own("tidegate:heartbeat", "Tidegate heartbeat", "tidegate", 1, 6),
    own("tidegate:start", "Tidegate started", "tidegate", 1, 6),
    own("tidegate:stop", "Tidegate stopped in good order", "tidegate", 2, 5),
    own("tidegate:outage", "Connection to the SIEM was away", "tidegate", 5, 4),
    own("tidegate:suppressed", "Flows held back", "tidegate", 4, 5),
    own(TEST_CLASS, "Tidegate test record", "test", 3, 6),
];

impl Own {
    const fn place(self) -> usize {
        match self {
            Self::Heartbeat => 0,
            Self::Start => 1,
            Self::Stop => 2,
            Self::Outage => 3,
            Self::Suppressed => 4,
            Self::Test(verdict) => 5 + verdict,
        }
    }
}

impl Class {
    pub fn of(flow: &Flow<'_>) -> &'static Self {
        match flow.action {
            Some(Action::Deny) => &CLASSES[1],
            Some(Action::Allow) if flow.staged_deny() => &CLASSES[2],
            Some(Action::Allow) => &CLASSES[0],
            None => &CLASSES[3],
        }
    }
}

/// What a user wants a kind of record to be; what is not said stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    pub id: Option<String>,
    pub name: Option<String>,
    /// 0 to 10.
    pub severity: Option<u8>,
    /// 0 to 7.
    pub syslog_severity: Option<u8>,
}

/// Which flows are another kind than their verdict says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Zones; without one, any.
    pub from: Option<Pattern>,
    pub to: Option<Pattern>,
    pub when: Option<Arc<Query>>,
    /// `None`: no record comes of them.
    pub becomes: Option<Look>,
}

impl Rule {
    fn takes(&self, event: &Event<'_>) -> bool {
        self.takes_zones(event.zones) && self.when.as_ref().is_none_or(|when| when.matches(event))
    }

    fn takes_zones(&self, zones: Option<ZonePair<'_>>) -> bool {
        let fits = |pattern: &Option<Pattern>, zone: fn(ZonePair<'_>) -> &str| {
            pattern.as_ref().is_none_or(|pattern| zones.is_some_and(|zones| pattern.matches(zone(zones))))
        };
        fits(&self.from, |zones| zones.source) && fits(&self.to, |zones| zones.dest)
    }
}

/// All kinds of records of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    /// Of each rule, behind those of none: the verdicts of flows that cross zones, then of those that do not.
    all: Vec<Class>,
    /// Where those begin that are no flow's.
    own: usize,
    rules: Vec<Rule>,
    /// The zone `unknown` counts as a zone like any other.
    unknown: bool,
}

impl Default for Classes {
    fn default() -> Self {
        Self::new(&Default::default(), Vec::new(), false)
    }
}

impl Classes {
    /// `verdicts` in the order of [`CLASSES`].
    pub fn new(verdicts: &[Look; CLASSES.len()], rules: Vec<Rule>, unknown: bool) -> Self {
        let none = Look::default();
        let mut all = Vec::with_capacity((rules.len() + 1) * 2 * CLASSES.len());
        for rule in std::iter::once(&none).chain(rules.iter().map(|rule| rule.becomes.as_ref().unwrap_or(&none))) {
            for crosses in [true, false] {
                for (class, verdict) in CLASSES.iter().zip(verdicts) {
                    let class = Class { index: all.len(), ..class.clone() };
                    all.push(class.placed(crosses).looking(verdict).looking(rule));
                }
            }
        }
        let own = all.len();
        let [status @ .., test] = &OWN_CLASSES;
        let tests = all[..CLASSES.len()].to_vec();
        let tests = tests.into_iter().map(|verdict| Class {
            severity: verdict.severity,
            syslog_severity: verdict.syslog_severity,
            ..test.clone()
        });
        all.extend(status.iter().cloned().chain(tests));
        all.iter_mut().enumerate().for_each(|(index, class)| class.index = index);
        Self { all, own, rules, unknown }
    }

    /// The kind of record that an event becomes; `None`: it is no flow, or a rule drops it.
    pub fn of(&self, event: &Event<'_>) -> Option<&Class> {
        let Body::Flow(flow) = event.body else { return None };
        let rule = self.rules.iter().position(|rule| rule.takes(event));
        let slot = match rule {
            Some(rule) if self.rules[rule].becomes.is_none() => return None,
            rule => rule.map_or(0, |rule| rule + 1),
        };
        let crosses = event.zones.is_some_and(|zones| zones.is_cross(self.unknown));
        let verdict = Class::of(flow).index;
        self.all.get((slot * 2 + usize::from(!crosses)) * CLASSES.len() + verdict)
    }

    /// The kind of a record of our own.
    pub fn own(&self, own: Own) -> &Class {
        &self.all[self.own + own.place()]
    }

    /// What the flows of a verdict become that no rule changes, by its place in [`CLASSES`].
    pub fn verdict(&self, verdict: usize) -> &Class {
        &self.all[verdict]
    }

    /// In the order of their indexes.
    pub fn all(&self) -> &[Class] {
        &self.all
    }

    /// The zones that the rules name.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(|rule| {
            let ends = [&rule.from, &rule.to].into_iter().flatten().map(Pattern::text);
            ends.chain(rule.when.iter().flat_map(|when| when.zones()).map(|zone| &*zone.name))
        })
    }
}

impl Class {
    fn placed(self, crosses: bool) -> Self {
        if crosses { self } else { Self { name: Cow::Borrowed(self.within), category: WITHIN, ..self } }
    }

    fn looking(mut self, look: &Look) -> Self {
        if let Some(id) = &look.id {
            self.id = Cow::Owned(id.clone());
        }
        if let Some(name) = &look.name {
            self.name = Cow::Owned(name.clone());
        }
        self.severity = look.severity.unwrap_or(self.severity);
        self.syslog_severity = look.syslog_severity.unwrap_or(self.syslog_severity);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FileKey, LineId, Origin};

    #[test]
    fn the_first_rule_decides() {
        let query = |text: &str| Some(Arc::new(Query::parse(text).expect("an expression")));
        let zone = |text: &str| Some(Pattern::new(text, false));
        let look = |id: &str, severity| Some(Look { id: Some(id.to_owned()), severity, ..Look::default() });
        let rules = vec![
            Rule {
                from: zone("dmz"),
                to: zone("restricted"),
                when: query("verdict = deny"),
                becomes: look("a", Some(9)),
            },
            Rule { from: None, to: zone("mgmt*"), when: None, becomes: None },
            Rule { from: None, to: None, when: query("dest.port = 53"), becomes: look("dns", None) },
        ];
        let verdicts =
            [Look::default(), Look { syslog_severity: Some(3), ..Look::default() }, Look::default(), Look::default()];
        let classes = Classes::new(&verdicts, rules, false);
        let check = |action, port, zones: Option<(&str, &str)>, expected: Option<(&str, &str, u8, u8, &str)>| {
            let mut flow = Flow { action, ..Flow::default() };
            flow.dest.port = Some(port);
            let id = LineId::new(None, FileKey(1), 0, b"");
            let origin = Origin { cluster: "c", node: "n", path: None, offset: 0, id, read_at_ms: None };
            let zones = zones.map(|(source, dest)| ZonePair { source, dest });
            let got = classes.of(&Event { origin, body: Body::Flow(&flow), zones });
            let got = got.map(|c| (&*c.id, &*c.name, c.severity, c.syslog_severity, c.category));
            assert_eq!(got, expected, "{action:?} {port} {zones:?}");
        };
        let (allow, deny) = (Some(Action::Allow), Some(Action::Deny));
        check(deny, 22, Some(("dmz", "restricted")), Some(("a", "Cross-zone flow denied", 9, 3, CROSS)));
        check(allow, 22, Some(("dmz", "restricted")), Some(("flow:allow", "Cross-zone flow allowed", 3, 6, CROSS)));
        check(deny, 22, Some(("restricted", "dmz")), Some(("flow:deny", "Cross-zone flow denied", 6, 3, CROSS)));
        check(deny, 53, Some(("dmz", "mgmt-2")), None);
        check(allow, 53, Some(("dmz", "dmz")), Some(("dns", "Flow allowed", 3, 6, WITHIN)));
        check(None, 1, None, Some(("flow:unknown", "Flow without a verdict", 4, 5, WITHIN)));
        for (index, class) in classes.all().iter().enumerate() {
            assert_eq!(class.index, index, "a header is found by its class");
        }
        assert_eq!(classes.zones().collect::<Vec<_>>(), ["dmz", "restricted", "mgmt*"]);
    }
}
