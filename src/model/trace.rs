//! Policy strings: what policy decided a flow.
//!
//! `<index>|<tier>|<name part>|<action>[|<rule index>]`. The name part has had four spellings:
//!
//! | generation | name parts |
//! |---|---|
//! | 1 (no rule index) | `ns/tier.name`, `__PROFILE__.kns.ns` |
//! | 2 | `tier.name`, `ns/tier.name`, `ns/knp.default.name`; staged: `tier.staged:name`, `ns/tier.staged:name`, `ns/staged:knp.default.name`, `ns/staged:tier.name` |
//! | 2b | also `kanp.adminnetworkpolicy.name`, `kbanp.baselineadminnetworkpolicy.name` |
//! | 3 | `<kind>:name` or `<kind>:ns/name`, kinds `np gnp knp snp sgnp sknp kcnp pro eot`; names need not begin with their tier |

use super::find::find;
use super::flow::{Action, Flow, Text};

const PROFILE: &str = "__PROFILE__";
const STAGED: &str = "staged:";

/// One policy that a flow met, read from its string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit<'a> {
    /// Place in the order of evaluation.
    pub index: u32,
    pub tier: &'a str,
    pub kind: PolicyKind,
    pub namespace: Option<&'a str>,
    /// The name part as logged.
    pub name: &'a str,
    /// The policy's own name: no kind, no namespace, no `staged:`, and no tier in the generations that put it in front
    /// (1 and 2). The generation 3 names are whole: there a leading tier is part of the name.
    pub policy: &'a str,
    pub action: HitAction,
    /// The rule that matched; [`END_OF_TIER`] or [`UNKNOWN_RULE`]. `None` in generation 1.
    pub rule_index: Option<i32>,
    /// Only evaluated, not enforced.
    pub staged: bool,
    pub raw: &'a str,
}

/// Rule index of a tier's default action: the policy named is an arbitrary one of the tier.
pub const END_OF_TIER: i32 = -1;
/// Rule index that Calico could not tell.
pub const UNKNOWN_RULE: i32 = -2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    NetworkPolicy,
    GlobalNetworkPolicy,
    KubernetesNetworkPolicy,
    StagedNetworkPolicy,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
    Profile,
    EndOfTier,
    /// A kind prefix that this build does not know.
    Unknown,
}

impl PolicyKind {
    /// For people and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "network_policy",
            Self::GlobalNetworkPolicy => "global_network_policy",
            Self::KubernetesNetworkPolicy => "kubernetes_network_policy",
            Self::StagedNetworkPolicy => "staged_network_policy",
            Self::StagedGlobalNetworkPolicy => "staged_global_network_policy",
            Self::StagedKubernetesNetworkPolicy => "staged_kubernetes_network_policy",
            Self::AdminNetworkPolicy => "admin_network_policy",
            Self::BaselineAdminNetworkPolicy => "baseline_admin_network_policy",
            Self::ClusterNetworkPolicy => "cluster_network_policy",
            Self::Profile => "profile",
            Self::EndOfTier => "end_of_tier",
            Self::Unknown => "unknown",
        }
    }

    const fn is_staged(self) -> bool {
        matches!(
            self,
            Self::StagedNetworkPolicy | Self::StagedGlobalNetworkPolicy | Self::StagedKubernetesNetworkPolicy
        )
    }

    /// Generation 3's prefix.
    fn from_prefix(prefix: &str) -> Self {
        match prefix {
            "np" => Self::NetworkPolicy,
            "gnp" => Self::GlobalNetworkPolicy,
            "knp" => Self::KubernetesNetworkPolicy,
            "snp" => Self::StagedNetworkPolicy,
            "sgnp" => Self::StagedGlobalNetworkPolicy,
            "sknp" => Self::StagedKubernetesNetworkPolicy,
            "kcnp" => Self::ClusterNetworkPolicy,
            "pro" => Self::Profile,
            "eot" => Self::EndOfTier,
            _ => Self::Unknown,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HitAction {
    Allow,
    Deny,
    /// On to the next tier.
    Pass,
}

impl HitAction {
    /// The log's own spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Pass => "pass",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Allow, Self::Deny, Self::Pass].into_iter().find(|action| action.as_str().eq_ignore_ascii_case(text))
    }
}

impl<'a> Hit<'a> {
    /// `None` for text that is no policy string: other than four or five parts, an index that is no number, an action
    /// that is not `allow`, `deny` or `pass`. A rule index that is no number is taken for none.
    pub fn parse(raw: &'a str) -> Option<Self> {
        Parts::of(raw).map(Self::of)
    }

    fn of(Parts { raw, index, tier, name, action, rule }: Parts<'a>) -> Self {
        let NamePart { kind, namespace, policy } = NamePart::parse(tier, name);
        let (rule_index, staged) = (rule.parse().ok(), kind.is_staged());
        Self { index, tier, kind, namespace, name, policy, action, rule_index, staged, raw }
    }

    /// The tier's default action decided, not a rule: [`Hit::policy`] means nothing then.
    pub fn is_end_of_tier(&self) -> bool {
        self.kind == PolicyKind::EndOfTier || self.rule_index == Some(END_OF_TIER)
    }
}

/// A policy string cut at its bars.
#[derive(Clone, Copy)]
struct Parts<'a> {
    raw: &'a str,
    index: u32,
    tier: &'a str,
    name: &'a str,
    action: HitAction,
    rule: &'a str,
}

impl<'a> Parts<'a> {
    fn of(raw: &'a str) -> Option<Self> {
        let (index, rest) = cut::<b'|'>(raw)?;
        let (tier, rest) = cut::<b'|'>(rest)?;
        let (name, rest) = cut::<b'|'>(rest)?;
        let (action, rule) = cut::<b'|'>(rest).unwrap_or((rest, ""));
        if cut::<b'|'>(rule).is_some() {
            return None;
        }
        Some(Self { raw, index: number(index)?, tier, name, action: HitAction::parse(action)?, rule })
    }

    /// As [`Hit::staged`]; nothing without a colon is.
    fn is_staged(&self) -> bool {
        cut::<b':'>(self.name).is_some() && NamePart::parse(self.tier, self.name).kind.is_staged()
    }
}

/// Place in the order of evaluation of a policy string.
fn index_of(raw: &str) -> Option<u32> {
    number(cut::<b'|'>(raw)?.0)
}

fn number(text: &str) -> Option<u32> {
    match text.as_bytes() {
        [digit @ b'0'..=b'9'] => Some(u32::from(digit - b'0')),
        _ => text.parse().ok(),
    }
}

struct NamePart<'a> {
    kind: PolicyKind,
    namespace: Option<&'a str>,
    policy: &'a str,
}

impl<'a> NamePart<'a> {
    fn parse(tier: &str, name: &'a str) -> Self {
        match kind_prefix(name) {
            Some((prefix, rest)) => {
                let (namespace, policy) = split_namespace(rest);
                Self { kind: PolicyKind::from_prefix(prefix), namespace, policy }
            }
            None => Self::unprefixed(tier, name),
        }
    }

    /// Generations 1 and 2.
    fn unprefixed(tier: &str, name: &'a str) -> Self {
        let (namespace, rest) = split_namespace(name);
        // `staged:` may stand before the namespace, before the tier or between tier and name.
        let (namespace, before) = match namespace.and_then(|ns| ns.strip_prefix(STAGED)) {
            Some(bare) => (Some(bare), true),
            None => (namespace, false),
        };
        let (rest, within) = strip_staged(rest);
        let staged = before || within;
        let namespaced = namespace.is_some();
        let (kind, policy) = if let Some(policy) = rest.strip_prefix("knp.default.") {
            (PolicyKind::KubernetesNetworkPolicy, policy)
        } else if let Some(policy) = rest.strip_prefix("kanp.adminnetworkpolicy.") {
            (PolicyKind::AdminNetworkPolicy, policy)
        } else if let Some(policy) = rest.strip_prefix("kbanp.baselineadminnetworkpolicy.") {
            (PolicyKind::BaselineAdminNetworkPolicy, policy)
        } else if let Some(policy) = strip_tier(rest, PROFILE) {
            (PolicyKind::Profile, policy)
        } else {
            let kind = if namespaced { PolicyKind::NetworkPolicy } else { PolicyKind::GlobalNetworkPolicy };
            (if tier == PROFILE { PolicyKind::Profile } else { kind }, strip_tier(rest, tier).unwrap_or(rest))
        };
        Self { kind: if staged { staged_form(kind) } else { kind }, namespace, policy }
    }
}

/// What stands before and behind the first `BYTE`, which is ASCII.
#[inline]
fn cut<const BYTE: u8>(text: &str) -> Option<(&str, &str)> {
    let at = find::<BYTE>(text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// `gnp` and `name` of `gnp:name`. `staged:` is no kind, and a prefix is one word of letters.
fn kind_prefix(name: &str) -> Option<(&str, &str)> {
    let (prefix, rest) = cut::<b':'>(name)?;
    let is_word = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_lowercase());
    (is_word && prefix != "staged").then_some((prefix, rest))
}

fn split_namespace(name: &str) -> (Option<&str>, &str) {
    cut::<b'/'>(name).map_or((None, name), |(namespace, rest)| (Some(namespace), rest))
}

fn strip_staged(name: &str) -> (&str, bool) {
    // Hardly any name holds a colon, and looking for a byte is cheaper than looking for a word.
    let staged = memchr::memchr(b':', name.as_bytes()).and_then(|_| name.split_once(STAGED));
    match staged {
        Some((before, policy)) if before.is_empty() || before.ends_with('.') => (policy, true),
        _ => (name, false),
    }
}

fn strip_tier<'a>(name: &'a str, tier: &str) -> Option<&'a str> {
    name.strip_prefix(tier)?.strip_prefix('.')
}

const fn staged_form(kind: PolicyKind) -> PolicyKind {
    match kind {
        PolicyKind::NetworkPolicy => PolicyKind::StagedNetworkPolicy,
        PolicyKind::GlobalNetworkPolicy => PolicyKind::StagedGlobalNetworkPolicy,
        PolicyKind::KubernetesNetworkPolicy => PolicyKind::StagedKubernetesNetworkPolicy,
        other => other,
    }
}

impl Flow<'_> {
    /// The hit that decided: the last enforced `allow` or `deny`. Logs without `enforced_policies` have it among
    /// `all_policies`, staged ones left out; a flow that was only forwarded has it among `transit_policies`.
    pub fn deciding(&self) -> Option<Hit<'_>> {
        self.decision().map(Hit::of)
    }

    /// The string of that hit.
    pub fn decided_by(&self) -> Option<&str> {
        self.decision().map(|parts| parts.raw)
    }

    fn decision(&self) -> Option<Parts<'_>> {
        let lists = [&self.policies.enforced, &self.policies.all, &self.policies.transit];
        lists.into_iter().find_map(|list| last_decision(list))
    }

    /// True when a staged policy would have denied what was allowed.
    pub fn staged_deny(&self) -> bool {
        self.action == Some(Action::Allow)
            && [&self.policies.pending, &self.policies.all]
                .into_iter()
                .any(|list| list.iter().any(|raw| is_staged_deny(raw)))
    }
}

/// Lists are in order, as a rule: seen from the end, what follows the first decision need not be read.
fn last_decision<'f>(list: &'f [Text<'_>]) -> Option<Parts<'f>> {
    let mut last: Option<Parts<'_>> = None;
    for raw in list.iter().rev() {
        if last.is_some_and(|last| index_of(raw).is_none_or(|index| index <= last.index)) {
            continue;
        }
        last = Parts::of(raw).filter(|parts| parts.action != HitAction::Pass && !parts.is_staged()).or(last);
    }
    last
}

fn cut_last(text: &[u8]) -> (&[u8], &[u8]) {
    let at = text.iter().rposition(|&byte| byte == b'|');
    at.map_or((&[], text), |at| (&text[..at], &text[at + 1..]))
}

/// The action is the last part or the one before it: hardly any line has a deny there, so hardly any is read whole.
fn is_staged_deny(raw: &str) -> bool {
    let deny = |part: &[u8]| part.eq_ignore_ascii_case(HitAction::Deny.as_str().as_bytes());
    let (before, last) = cut_last(raw.as_bytes());
    (deny(last) || deny(cut_last(before).1))
        && Hit::parse(raw).is_some_and(|hit| hit.staged && hit.action == HitAction::Deny)
}

#[cfg(test)]
mod tests {
    use super::PolicyKind::*;
    use super::*;

    type Expected<'a> = (PolicyKind, Option<&'a str>, &'a str);

    #[test]
    fn name_parts_of_every_generation() {
        let check = |tier: &str, name: &str, (kind, namespace, policy): Expected<'_>| {
            let raw = format!("3|{tier}|{name}|allow|0");
            let hit = Hit::parse(&raw).expect("a policy string");
            assert_eq!((hit.kind, hit.namespace, hit.policy), (kind, namespace, policy), "{raw}");
            assert_eq!((hit.index, hit.tier, hit.name, hit.raw), (3, tier, name, raw.as_str()), "{raw}");
            assert_eq!(hit.staged, kind.as_str().starts_with("staged_"), "{raw}");
        };
        // 1 and 2
        check("default", "shop/default.allow-web", (NetworkPolicy, Some("shop"), "allow-web"));
        check("security", "security.block-tor", (GlobalNetworkPolicy, None, "block-tor"));
        check("app", "shop/app.v1.web", (NetworkPolicy, Some("shop"), "v1.web"));
        check("default", "shop/knp.default.allow-dns", (KubernetesNetworkPolicy, Some("shop"), "allow-dns"));
        check("__PROFILE__", "__PROFILE__.kns.shop", (Profile, None, "kns.shop"));
        check("__PROFILE__", "shop/__PROFILE__.kns.shop", (Profile, Some("shop"), "kns.shop"));
        check("__PROFILE__", "kns.shop", (Profile, None, "kns.shop"));
        // 2, staged in every position
        check("security", "security.staged:block-tor", (StagedGlobalNetworkPolicy, None, "block-tor"));
        check("app", "shop/app.staged:web", (StagedNetworkPolicy, Some("shop"), "web"));
        check("default", "shop/staged:knp.default.dns", (StagedKubernetesNetworkPolicy, Some("shop"), "dns"));
        check("app", "shop/staged:app.web", (StagedNetworkPolicy, Some("shop"), "web"));
        check("app", "staged:shop/app.web", (StagedNetworkPolicy, Some("shop"), "web"));
        check("security", "staged:security.block-tor", (StagedGlobalNetworkPolicy, None, "block-tor"));
        check("default", "shop/default.staged:knp.default.dns", (StagedKubernetesNetworkPolicy, Some("shop"), "dns"));
        // The tier column and the name disagree: nothing is split off.
        check("tier2", "shop/staged:tier1.web", (StagedNetworkPolicy, Some("shop"), "tier1.web"));
        check("sec", "security.block-tor", (GlobalNetworkPolicy, None, "security.block-tor"));
        check("app", "appliance.web", (GlobalNetworkPolicy, None, "appliance.web"));
        check("app", "bare", (GlobalNetworkPolicy, None, "bare"));
        // 2b
        check("adminnetworkpolicy", "kanp.adminnetworkpolicy.deny-all", (AdminNetworkPolicy, None, "deny-all"));
        check(
            "baselineadminnetworkpolicy",
            "kbanp.baselineadminnetworkpolicy.default",
            (BaselineAdminNetworkPolicy, None, "default"),
        );
        // 3: a tier in front is part of the name
        check("default", "gnp:allow-dns", (GlobalNetworkPolicy, None, "allow-dns"));
        check("security", "gnp:security.block-tor", (GlobalNetworkPolicy, None, "security.block-tor"));
        check("tier1", "np:shop/tier1.web", (NetworkPolicy, Some("shop"), "tier1.web"));
        check("default", "knp:shop/allow-dns", (KubernetesNetworkPolicy, Some("shop"), "allow-dns"));
        check("app", "snp:shop/web", (StagedNetworkPolicy, Some("shop"), "web"));
        check("security", "sgnp:block-tor", (StagedGlobalNetworkPolicy, None, "block-tor"));
        check("default", "sknp:shop/dns", (StagedKubernetesNetworkPolicy, Some("shop"), "dns"));
        check("kube-admin", "kcnp:cluster-default", (ClusterNetworkPolicy, None, "cluster-default"));
        check("__PROFILE__", "pro:kns.shop", (Profile, None, "kns.shop"));
        check("app", "eot:", (EndOfTier, None, ""));
        check("app", "eot:shop/web", (EndOfTier, Some("shop"), "web"));
        check("app", "later:shop/web", (Unknown, Some("shop"), "web"));
        // Odd, but no reason to lose it
        check("", "", (GlobalNetworkPolicy, None, ""));
        check("app", "app.not-staged:x", (GlobalNetworkPolicy, None, "not-staged:x"));
    }

    #[test]
    fn the_other_parts() {
        let check = |raw: &str, expected: Option<(u32, HitAction, Option<i32>, bool)>| {
            let read = Hit::parse(raw).map(|hit| (hit.index, hit.action, hit.rule_index, hit.is_end_of_tier()));
            assert_eq!(read, expected, "{raw}");
        };
        check("0|a|a.x|allow", Some((0, HitAction::Allow, None, false)));
        check("12|a|a.x|Pass|7", Some((12, HitAction::Pass, Some(7), false)));
        check("1|a|a.x|deny|-1", Some((1, HitAction::Deny, Some(END_OF_TIER), true)));
        check("1|a|a.x|deny|-2", Some((1, HitAction::Deny, Some(UNKNOWN_RULE), false)));
        check("1|a|eot:a.x|deny|0", Some((1, HitAction::Deny, Some(0), true)));
        check("1|a|a.x|deny|-", Some((1, HitAction::Deny, None, false)));
        for no_policy in
            ["", "|||", "0|a|a.x", "x|a|a.x|allow|0", "-1|a|a.x|allow|0", "0|a|a.x|log|0", "0|a|a.x|allow|0|0"]
        {
            check(no_policy, None);
        }
    }

    fn policies(list: &[&'static str]) -> Vec<Text<'static>> {
        list.iter().map(|raw| Text::Borrowed(*raw)).collect()
    }

    #[test]
    fn who_decided() {
        let check = |lists: [&[&'static str]; 3], expected: Option<&str>| {
            let mut flow = Flow::default();
            let [enforced, all, transit] = lists.map(policies);
            (flow.policies.enforced, flow.policies.all, flow.policies.transit) = (enforced, all, transit);
            assert_eq!(flow.deciding().map(|hit| hit.policy), expected, "{lists:?}");
        };
        check([&[], &[], &[]], None);
        check([&["0|a|a.x|pass|0", "1|b|b.y|allow|2"], &["9|c|c.z|deny|0"], &[]], Some("y"));
        // By index, wherever it stands; ten is above nine.
        check([&["10|b|b.y|deny|2", "9|a|a.x|allow|0"], &[], &[]], Some("y"));
        check([&[], &["0|a|a.staged:x|deny|0", "1|b|b.y|allow|0"], &[]], Some("y"));
        check([&[], &["0|b|b.y|allow|0", "1|a|a.staged:x|deny|0"], &[]], Some("y"));
        check([&["0|a|a.x|pass|0"], &["0|a|a.x|pass|0", "1|b|b.y|deny|-1"], &[]], Some("y"));
        check([&["nonsense"], &[], &[]], None);
        check([&[], &[], &["0|d|d.t|deny|0"]], Some("t"));
    }

    #[test]
    fn what_staging_would_have_denied() {
        let check = |action, pending: &[&'static str], all: &[&'static str], expected: bool| {
            let mut flow = Flow { action, ..Flow::default() };
            (flow.policies.pending, flow.policies.all) = (policies(pending), policies(all));
            assert_eq!(flow.staged_deny(), expected, "{action:?} {pending:?} {all:?}");
        };
        let allow = Some(Action::Allow);
        check(allow, &["0|a|sgnp:x|deny|0"], &[], true);
        check(allow, &[], &["0|a|a.staged:x|deny|-1", "1|b|b.y|allow|0"], true);
        check(allow, &["0|a|sgnp:x|pass|0"], &["0|a|a.staged:x|allow|0"], false);
        check(allow, &["0|a|a.x|deny|0"], &[], false);
        check(Some(Action::Deny), &["0|a|sgnp:x|deny|0"], &[], false);
        check(None, &["0|a|sgnp:x|deny|0"], &[], false);
    }

    #[test]
    fn kinds_by_name() {
        let kinds = [
            NetworkPolicy,
            GlobalNetworkPolicy,
            KubernetesNetworkPolicy,
            StagedNetworkPolicy,
            StagedGlobalNetworkPolicy,
            StagedKubernetesNetworkPolicy,
            AdminNetworkPolicy,
            BaselineAdminNetworkPolicy,
            ClusterNetworkPolicy,
            Profile,
            EndOfTier,
            Unknown,
        ];
        let names: std::collections::HashSet<_> = kinds.map(PolicyKind::as_str).into();
        assert_eq!(names.len(), kinds.len());
    }
}
