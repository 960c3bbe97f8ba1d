//! What the demo says at its end: the numbers, and whether they add up.

use super::picture::{grouped, safe};
use super::receivers::{BulkSeen, Ids, SyslogSeen, Violations};
use super::traffic::Written;
use crate::telemetry::LaneSnapshot;

/// All that is known when the agent has stopped. A receiver is `None` where a real peer answered.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub written: Written,
    pub lanes: Vec<LaneSnapshot>,
    pub bulk: Option<(BulkSeen, Ids)>,
    pub syslog: Option<(SyslogSeen, Ids)>,
}

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub passed: bool,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The numbers, a line each.
    pub numbers: Vec<String>,
    pub checks: Vec<Check>,
    /// What the receivers complained of, the first few.
    pub violations: Vec<String>,
}

/// Names of the demo's lanes.
pub const ELASTICSEARCH: &str = "elasticsearch";
pub const SIEM: &str = "siem-demo";

impl Summary {
    pub fn new(outcome: &Outcome) -> Self {
        let mut summary = Self { numbers: vec![written(outcome.written)], checks: Vec::new(), violations: Vec::new() };
        for name in [ELASTICSEARCH, SIEM] {
            match outcome.lanes.iter().find(|lane| lane.name == name) {
                Some(lane) => summary.lane(lane, outcome.written),
                None => summary.check(false, format!("the lane {name} ran")),
            }
        }
        summary.bulk(outcome);
        summary.syslog(outcome);
        summary
    }

    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// As it is printed; `colour` for a terminal.
    pub fn lines(&self, colour: bool) -> Vec<String> {
        let ink = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
        let mut lines = vec![String::new(), ink("1;36", "Summary")];
        lines.extend(self.numbers.iter().map(|line| format!("  {line}")));
        for check in &self.checks {
            let mark = if check.passed { ink("32", "ok  ") } else { ink("1;31", "FAIL") };
            lines.push(format!("  {mark}  {}", safe(&check.text)));
        }
        lines.extend(self.violations.iter().map(|violation| ink("31", &format!("        {}", safe(violation)))));
        let failed = self.checks.iter().filter(|check| !check.passed).count();
        lines.push(match failed {
            0 => ink("1;32", "The numbers add up."),
            failed => ink("1;31", &format!("{failed} of {} checks failed.", self.checks.len())),
        });
        lines
    }

    fn check(&mut self, passed: bool, text: impl Into<String>) {
        self.checks.push(Check { passed, text: text.into() });
    }

    fn equal(&mut self, what: &str, found: u64, expected: u64) {
        let text = if found == expected {
            format!("{what}: {}", grouped(found))
        } else {
            format!("{what}: {} instead of {}", grouped(found), grouped(expected))
        };
        self.check(found == expected, text);
    }

    fn lane(&mut self, lane: &LaneSnapshot, written: Written) {
        let LaneSnapshot { name, read, delivered, filtered, rejected, dropped, in_flight, .. } = lane;
        self.numbers.push(format!(
            "{name:<14} read {} = delivered {} + filtered {} + rejected {} + dropped {}",
            grouped(*read),
            grouped(*delivered),
            grouped(*filtered),
            grouped(*rejected),
            grouped(*dropped)
        ));
        self.equal(&format!("{name} read every line"), *read, written.lines);
        self.equal(&format!("{name} decided every line that it read"), lane.decided(), *read);
        self.equal(&format!("{name} has nothing in flight"), *in_flight, 0);
        self.equal(&format!("{name} rejected or dropped nothing"), rejected + dropped, 0);
    }

    fn bulk(&mut self, outcome: &Outcome) {
        let Some((seen, _)) = &outcome.bulk else { return };
        let BulkSeen { flows, raw, repeats, requests, .. } = seen;
        let received = flows + raw;
        self.numbers.push(format!(
            "{:<14} {} documents in {} requests, {} sent again",
            "received",
            grouped(received),
            grouped(*requests),
            grouped(*repeats)
        ));
        self.equal("one document a flow", *flows, outcome.written.flows);
        self.equal("one document a line that is no flow", *raw, outcome.written.raw);
        self.equal("delivered to Elasticsearch is what it has", delivered(outcome, ELASTICSEARCH), received);
        self.wrong("documents", &seen.violations);
    }

    fn syslog(&mut self, outcome: &Outcome) {
        let Some((seen, ids)) = &outcome.syslog else { return };
        self.numbers.push(format!(
            "{:<14} {} CEF records ({} allowed, {} denied), {} sent again",
            "received",
            grouped(seen.records()),
            grouped(seen.allowed),
            grouped(seen.denied),
            grouped(seen.repeats)
        ));
        self.equal("one record a cross-zone connection", seen.records(), outcome.written.siem);
        self.equal("delivered to the SIEM is what it has", delivered(outcome, SIEM), seen.records());
        self.wrong("records", &seen.violations);
        match &outcome.bulk {
            Some((_, documents)) if !documents.forgot && !ids.forgot => {
                self.equal("records without their document", ids.missing_in(documents) as u64, 0);
            }
            // A long run: the receivers forgot the oldest ids.
            _ => {}
        }
    }

    fn wrong(&mut self, what: &str, violations: &Violations) {
        self.equal(&format!("{what} with something wrong"), violations.count, 0);
        self.violations.extend(violations.first.iter().cloned());
    }
}

fn delivered(outcome: &Outcome, lane: &str) -> u64 {
    outcome.lanes.iter().find(|found| found.name == lane).map_or(0, |lane| lane.delivered)
}

fn written(written: Written) -> String {
    format!(
        "{:<14} {} lines: {} flows ({} denied), {} that are none; {} rotations",
        "written",
        grouped(written.lines),
        grouped(written.flows),
        grouped(written.denied),
        grouped(written.raw),
        written.rotations
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Outcome {
        let lane = |name: &str, delivered, filtered| LaneSnapshot {
            name: name.into(),
            read: 1000,
            delivered,
            filtered,
            ..LaneSnapshot::default()
        };
        Outcome {
            written: Written {
                lines: 1000,
                flows: 998,
                raw: 2,
                denied: 10,
                siem: 300,
                rotations: 4,
                ..Written::default()
            },
            lanes: vec![lane(ELASTICSEARCH, 1000, 0), lane(SIEM, 300, 700)],
            bulk: Some((BulkSeen { flows: 998, raw: 2, requests: 7, ..BulkSeen::default() }, Ids::default())),
            syslog: Some((SyslogSeen { allowed: 290, denied: 10, ..SyslogSeen::default() }, Ids::default())),
        }
    }

    #[test]
    fn good_numbers_add_up() {
        let summary = Summary::new(&good());
        assert!(summary.passed(), "{:#?}", summary.checks);
        let lines = summary.lines(false);
        for line in [
            "  written        1,000 lines: 998 flows (10 denied), 2 that are none; 4 rotations",
            "  elasticsearch  read 1,000 = delivered 1,000 + filtered 0 + rejected 0 + dropped 0",
            "  siem-demo      read 1,000 = delivered 300 + filtered 700 + rejected 0 + dropped 0",
            "The numbers add up.",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line:?} is not in {lines:#?}");
        }
        let real = Outcome { bulk: None, syslog: None, ..good() };
        assert!(Summary::new(&real).passed(), "a real peer leaves fewer checks");
    }

    /// Every change to good numbers fails a check that says what is wrong.
    #[test]
    fn every_check_can_fail() {
        type Change = fn(&mut Outcome);
        fn bulk(outcome: &mut Outcome) -> &mut BulkSeen {
            &mut outcome.bulk.as_mut().expect("embedded").0
        }
        fn syslog(outcome: &mut Outcome) -> &mut SyslogSeen {
            &mut outcome.syslog.as_mut().expect("embedded").0
        }
        let cases: [(Change, &str); 12] = [
            (|o| o.lanes[0].read = 999, "elasticsearch read every line: 999 instead of 1,000"),
            (|o| o.lanes[1].filtered = 699, "siem-demo decided every line that it read: 999 instead of 1,000"),
            (|o| o.lanes[1].in_flight = 1, "siem-demo has nothing in flight"),
            (|o| o.lanes[0].rejected = 1, "elasticsearch rejected or dropped nothing"),
            (|o| o.lanes[0].dropped = 1, "elasticsearch rejected or dropped nothing"),
            (|o| drop(o.lanes.pop()), "the lane siem-demo ran"),
            (|o| bulk(o).flows = 997, "one document a flow: 997 instead of 998"),
            (|o| bulk(o).raw = 3, "one document a line that is no flow"),
            (|o| bulk(o).violations.add("x"), "documents with something wrong"),
            (|o| syslog(o).denied = 9, "one record a cross-zone connection: 299 instead of 300"),
            (|o| syslog(o).violations.add("x"), "records with something wrong"),
            (|o| o.lanes[0].delivered = 1001, "delivered to Elasticsearch is what it has"),
        ];
        for (change, failing) in cases {
            let mut outcome = good();
            change(&mut outcome);
            let summary = Summary::new(&outcome);
            let failed: Vec<_> = summary.checks.iter().filter(|check| !check.passed).map(|check| &check.text).collect();
            assert!(failed.iter().any(|text| text.starts_with(failing)), "{failing:?} is not in {failed:?}");
            assert!(!summary.passed() && summary.lines(false).iter().any(|line| line.contains("FAIL")));
        }
    }
}
