//! Policy traces as several generations of Calico write them.

use fastrand::Rng;
use serde::Serialize;

/// How a policy is spelled. A real node speaks one of these; the demo shows that all are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// Up to Calico Enterprise 3.20: four parts, `all_policies` only.
    First,
    /// Today's: tier-prefixed names, five parts.
    Second,
    /// Calico 3.32 and later: `np:ns/name`, no tier in the name.
    Third,
}

impl Generation {
    pub(super) fn pick(rng: &mut Rng) -> Self {
        match rng.u32(..20) {
            0..2 => Self::First,
            2..15 => Self::Second,
            _ => Self::Third,
        }
    }
}

/// The `policies` object of a line.
#[derive(Debug, Serialize)]
pub(super) struct Policies {
    all_policies: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enforced_policies: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_policies: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transit_policies: Option<Vec<String>>,
}

/// What the trace of one half must say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace<'a> {
    pub generation: Generation,
    /// Namespace of the reporting end.
    pub namespace: &'a str,
    /// `None`: no policy selects this end, its namespace's profile decides.
    pub policy: Option<&'a str>,
    pub denied: bool,
    /// A staged policy would deny.
    pub staged: bool,
}

impl Trace<'_> {
    pub(super) fn policies(self, rng: &mut Rng) -> Policies {
        let pass = rng.u8(..4);
        let rule = rng.u8(..6);
        let verdict = if self.denied { "deny" } else { "allow" };
        let Some(policy) = self.policy else {
            return self.lists(rng, vec![self.profile(0)], None);
        };
        let guard = self.hit(0, "security", None, "zone-guard", "pass", &pass.to_string());
        if policy == "zone-guard" {
            return self.lists(rng, vec![self.hit(0, "security", None, policy, verdict, &rule.to_string())], None);
        }
        // A default deny is the end of its tier; the policy named is any one of the tier.
        let rule = if policy == "default-deny" { "-1".to_owned() } else { rule.to_string() };
        let decides = |index| self.hit(index, "app", Some(self.namespace), policy, verdict, &rule);
        let staged = self.staged.then(|| self.staged_hit(1));
        let mut all = vec![guard.clone()];
        all.extend(staged.clone());
        all.push(decides(all.len()));
        let pending = staged.map(|staged| vec![guard.clone(), staged]);
        let enforced = vec![guard, decides(1)];
        self.with(rng, all, enforced, pending)
    }

    fn lists(self, rng: &mut Rng, all: Vec<String>, pending: Option<Vec<String>>) -> Policies {
        let enforced = all.clone();
        self.with(rng, all, enforced, pending)
    }

    /// The lists come out of a map, in any order.
    fn with(
        self,
        rng: &mut Rng,
        mut all: Vec<String>,
        mut enforced: Vec<String>,
        pending: Option<Vec<String>>,
    ) -> Policies {
        let pending = pending.unwrap_or_else(|| enforced.clone());
        rng.shuffle(&mut all);
        rng.shuffle(&mut enforced);
        let newer = self.generation != Generation::First;
        Policies {
            all_policies: all,
            enforced_policies: newer.then_some(enforced),
            pending_policies: newer.then_some(pending),
            transit_policies: newer.then(Vec::new),
        }
    }

    fn hit(self, index: usize, tier: &str, namespace: Option<&str>, name: &str, action: &str, rule: &str) -> String {
        let part = match (self.generation, namespace) {
            (Generation::Third, None) => format!("gnp:{name}"),
            (Generation::Third, Some(namespace)) => format!("np:{namespace}/{name}"),
            (_, None) => format!("{tier}.{name}"),
            (_, Some(namespace)) => format!("{namespace}/{tier}.{name}"),
        };
        self.join(index, tier, &part, action, rule)
    }

    fn staged_hit(self, index: usize) -> String {
        let namespace = self.namespace;
        let part = match self.generation {
            Generation::Third => format!("snp:{namespace}/lock-down"),
            _ => format!("{namespace}/app.staged:lock-down"),
        };
        self.join(index, "app", &part, "deny", "0")
    }

    fn profile(self, index: usize) -> String {
        let namespace = self.namespace;
        let part = match self.generation {
            Generation::Third => format!("pro:kns.{namespace}"),
            _ => format!("__PROFILE__.kns.{namespace}"),
        };
        self.join(index, "__PROFILE__", &part, "allow", "0")
    }

    fn join(self, index: usize, tier: &str, part: &str, action: &str, rule: &str) -> String {
        match self.generation {
            Generation::First => format!("{index}|{tier}|{part}|{action}"),
            _ => format!("{index}|{tier}|{part}|{action}|{rule}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(generation: Generation, policy: Option<&str>, denied: bool, staged: bool, all: &[&str]) {
        let trace = Trace { generation, namespace: "shop", policy, denied, staged };
        let mut made = trace.policies(&mut Rng::with_seed(3)).all_policies;
        made.sort();
        // The rule index is drawn; what is not fixed is compared without it.
        let cut = |hit: &str| hit.split('|').take(4).collect::<Vec<_>>().join("|");
        assert_eq!(made.iter().map(|hit| cut(hit)).collect::<Vec<_>>(), all);
    }

    #[test]
    fn generations() {
        use Generation::*;
        check(First, Some("p"), false, false, &["0|security|security.zone-guard|pass", "1|app|shop/app.p|allow"]);
        check(Second, Some("p"), true, false, &["0|security|security.zone-guard|pass", "1|app|shop/app.p|deny"]);
        let staged =
            ["0|security|security.zone-guard|pass", "1|app|shop/app.staged:lock-down|deny", "2|app|shop/app.p|allow"];
        check(Second, Some("p"), false, true, &staged);
        check(
            Third,
            Some("p"),
            false,
            true,
            &["0|security|gnp:zone-guard|pass", "1|app|snp:shop/lock-down|deny", "2|app|np:shop/p|allow"],
        );
        check(Third, Some("zone-guard"), true, false, &["0|security|gnp:zone-guard|deny"]);
        check(Second, None, false, false, &["0|__PROFILE__|__PROFILE__.kns.shop|allow"]);
    }
}
