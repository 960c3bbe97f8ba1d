//! The fields: one table of names, for the parser, the printer and the documentation.

use crate::yaml::nearest;

/// What a field is, without the end it is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Id {
    Zone,
    Namespace,
    Name,
    Pod,
    Workload,
    Ip,
    Port,
    Type,
    Label,
    Bytes,
    Packets,
    Verdict,
    Staged,
    Reporter,
    Proto,
    Connections,
    Started,
    Completed,
    Policy,
    PolicyNamespace,
    PolicyKind,
    Tier,
    Rule,
    Service,
    ServiceNamespace,
    ServicePort,
    ServicePortName,
    Domain,
    Client,
    Process,
    Cluster,
    Node,
    CrossZone,
    Aggregated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Source,
    Dest,
    /// One of both; of a counter, their sum. For a field of the whole flow it says nothing.
    Either,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    Port,
}

/// What may be asked of a field, and how its values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// One of these words; behind each, other spellings of it.
    Word(&'static [(&'static str, &'static [&'static str])]),
    Number(Unit),
    Protocol,
    Address,
    /// True or false: it stands alone.
    Flag,
}

/// Which ends a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// It is the whole flow's.
    None,
    /// `source.x`, `dest.x`, and `x` for either.
    Either,
    /// `source.x`, `dest.x`, and `x` for their sum.
    Sum,
}

#[derive(Debug)]
pub struct Spec {
    pub id: Id,
    pub name: &'static str,
    /// Behind the end's prefix too, where it has ends.
    pub aliases: &'static [&'static str],
    pub kind: Kind,
    pub ends: Ends,
    /// For people.
    pub what: &'static str,
}

impl Kind {
    /// What may stand behind a field.
    pub const fn operators(self) -> &'static str {
        match self {
            Self::Text => "=, !=, =~, !~, in and not in",
            Self::Number(_) => "=, !=, <, <=, >, >=, in and not in",
            Self::Word(_) | Self::Protocol | Self::Address => "=, !=, in and not in",
            Self::Flag => "nothing, or not before it",
        }
    }

    /// How values are written.
    pub fn values(self) -> String {
        match self {
            Self::Text => "text; `*` is a wildcard unless in quotes".to_owned(),
            Self::Word(words) => words.iter().map(|(word, more)| spellings(word, more)).collect::<Vec<_>>().join(", "),
            Self::Number(Unit::Count) => "`100`, `100-199`".to_owned(),
            Self::Number(Unit::Port) => "`443`, `8000-8099`".to_owned(),
            Self::Number(Unit::Bytes) => "`1500`, `64KiB`, `10MiB`, `1GB`".to_owned(),
            Self::Protocol => "`tcp`, `icmp`, `47`".to_owned(),
            Self::Address => "`10.0.0.7`, `10.0.0.0/8`, `2001:db8::/32`".to_owned(),
            Self::Flag => String::new(),
        }
    }
}

/// `` `wep` (pod, workload) ``.
fn spellings(word: &str, more: &[&str]) -> String {
    if more.is_empty() { format!("`{word}`") } else { format!("`{word}` ({})", more.join(", ")) }
}

impl Ends {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Either => "either",
            Self::Sum => "sum",
        }
    }
}

impl Spec {
    pub fn has_ends(&self) -> bool {
        self.ends != Ends::None
    }
}

const VERDICTS: Kind = Kind::Word(&[("allow", &["allowed"]), ("deny", &["denied"])]);

const fn end(id: Id, name: &'static str, aliases: &'static [&'static str], kind: Kind, what: &'static str) -> Spec {
    Spec { id, name, aliases, kind, ends: Ends::Either, what }
}

const fn sum(id: Id, name: &'static str, aliases: &'static [&'static str], kind: Kind, what: &'static str) -> Spec {
    Spec { id, name, aliases, kind, ends: Ends::Sum, what }
}

const fn flow(id: Id, name: &'static str, aliases: &'static [&'static str], kind: Kind, what: &'static str) -> Spec {
    Spec { id, name, aliases, kind, ends: Ends::None, what }
}

/// In the order of the documentation.
pub static FIELDS: &[Spec] = &[
    end(Id::Zone, "zone", &[], Kind::Text, "zone by zones.yaml; `unknown` where none matches"),
    end(Id::Namespace, "namespace", &["ns"], Kind::Text, "namespace"),
    end(
        Id::Workload,
        "workload",
        &["name_aggr"],
        Kind::Text,
        "name of the set of pods, as `web-7d9c7b5d6c-*`; else the end's own name; `pub`, `pvt` for other addresses",
    ),
    end(
        Id::Name,
        "name",
        &[],
        Kind::Text,
        "name of the pod, host endpoint or network set; not known where Calico aggregates",
    ),
    end(Id::Pod, "pod", &[], Kind::Text, "`name` where the end is a pod"),
    end(
        Id::Type,
        "type",
        &["kind"],
        Kind::Word(&[
            ("wep", &["workload", "pod"]),
            ("hep", &["host"]),
            ("ns", &["networkset", "network-set"]),
            ("net", &["network"]),
        ]),
        "kind of end: pod, host endpoint, network set, any other address",
    ),
    end(Id::Ip, "ip", &["addr", "address"], Kind::Address, "address; not known where Calico aggregates"),
    end(Id::Port, "port", &[], Kind::Number(Unit::Port), "port"),
    end(
        Id::Label,
        "label.KEY",
        &["labels.KEY"],
        Kind::Text,
        "value of the label KEY, as `source.label.app.kubernetes.io/name`",
    ),
    sum(
        Id::Bytes,
        "bytes",
        &["network.bytes"],
        Kind::Number(Unit::Bytes),
        "bytes that the end sent; without an end, both ways",
    ),
    sum(
        Id::Packets,
        "packets",
        &["network.packets"],
        Kind::Number(Unit::Count),
        "packets that the end sent; without an end, both ways",
    ),
    flow(Id::Verdict, "verdict", &["action", "event.action"], VERDICTS, "what became of the flow"),
    flow(Id::Staged, "staged", &[], VERDICTS, "what staged policies would have done: deny if one of them denies"),
    flow(
        Id::Reporter,
        "reporter",
        &[],
        Kind::Word(&[("src", &["source"]), ("dst", &["dest", "destination"]), ("fwd", &["forward"])]),
        "who reported it; holds if one of several does",
    ),
    flow(
        Id::Proto,
        "proto",
        &["protocol", "network.transport", "network.iana_number"],
        Kind::Protocol,
        "protocol by name or number",
    ),
    flow(
        Id::Connections,
        "connections",
        &["num_flows"],
        Kind::Number(Unit::Count),
        "connections that the line stands for",
    ),
    flow(
        Id::Started,
        "connections.started",
        &["num_flows_started"],
        Kind::Number(Unit::Count),
        "those that began in it",
    ),
    flow(
        Id::Completed,
        "connections.completed",
        &["num_flows_completed"],
        Kind::Number(Unit::Count),
        "those that ended in it",
    ),
    flow(
        Id::Policy,
        "policy",
        &["policy.name"],
        Kind::Text,
        "name of the policy that decided, without tier and namespace",
    ),
    flow(Id::PolicyNamespace, "policy.namespace", &[], Kind::Text, "its namespace; not there for a global one"),
    flow(
        Id::PolicyKind,
        "policy.kind",
        &["policy.type"],
        Kind::Word(&[
            ("network_policy", &["np"]),
            ("global_network_policy", &["gnp"]),
            ("kubernetes_network_policy", &["knp"]),
            ("admin_network_policy", &[]),
            ("baseline_admin_network_policy", &[]),
            ("cluster_network_policy", &["kcnp"]),
            ("profile", &["pro"]),
            ("end_of_tier", &["eot"]),
            ("unknown", &[]),
        ]),
        "its kind",
    ),
    flow(Id::Tier, "tier", &["policy.tier"], Kind::Text, "its tier"),
    flow(Id::Rule, "rule", &["policy.rule"], Kind::Number(Unit::Count), "number of its rule; -1 is the tier's default"),
    flow(
        Id::Service,
        "service",
        &["service.name", "dest_service_name"],
        Kind::Text,
        "name of the Kubernetes service that was called",
    ),
    flow(Id::ServiceNamespace, "service.namespace", &["dest_service_namespace"], Kind::Text, "its namespace"),
    flow(Id::ServicePort, "service.port", &["dest_service_port_num"], Kind::Number(Unit::Port), "its port"),
    flow(Id::ServicePortName, "service.port_name", &["dest_service_port"], Kind::Text, "its port's name"),
    flow(
        Id::Domain,
        "domain",
        &["domains", "dest_domains"],
        Kind::Text,
        "DNS names that the destination was resolved from; holds if one does",
    ),
    flow(
        Id::Client,
        "client.ip",
        &["original_source_ips"],
        Kind::Address,
        "clients in front of an ingress; holds if one does",
    ),
    flow(Id::Process, "process", &["process.name", "process_name"], Kind::Text, "process at the reporting end"),
    flow(Id::Cluster, "cluster", &["orchestrator.cluster.name"], Kind::Text, "configured cluster"),
    flow(Id::Node, "node", &["host", "host.name"], Kind::Text, "node: the line's `host`, else the configured one"),
    flow(Id::CrossZone, "cross_zone", &["cross-zone"], Kind::Flag, "both zones are known and differ"),
    flow(Id::Aggregated, "aggregated", &[], Kind::Flag, "an address or a port is missing, since Calico aggregated"),
];

/// What a name may stand behind. The first of a side is the one that is printed.
const PREFIXES: [(&str, Side); 7] = [
    ("source.", Side::Source),
    ("dest.", Side::Dest),
    ("src.", Side::Source),
    ("dst.", Side::Dest),
    ("destination.", Side::Dest),
    ("source_", Side::Source),
    ("dest_", Side::Dest),
];
const LABEL_PREFIXES: [&str; 2] = ["label.", "labels."];
/// Kubernetes: a prefix of 253, a slash, a name of 63.
const MAX_LABEL_LEN: usize = 317;

/// A field of an end, or of the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub id: Id,
    pub side: Side,
    /// Of a label.
    pub key: Box<str>,
}

impl Field {
    /// The field of that name, or what is wrong with it.
    pub fn named(name: &str) -> Result<Self, String> {
        if let Some(field) = of_end(name, Side::Either, |_| true)? {
            return Ok(field);
        }
        for (prefix, side) in PREFIXES {
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            if let Some(field) = of_end(rest, side, |spec| spec.ends != Ends::None)? {
                return Ok(field);
            }
        }
        Err(unknown(name))
    }

    pub fn spec(&self) -> &'static Spec {
        spec(self.id)
    }

    /// The same field of the other end, if both can be held against each other.
    pub fn faces(&self, other: &Self) -> bool {
        let ends = (self.side, other.side);
        self.id == other.id
            && self.key == other.key
            && matches!(ends, (Side::Source, Side::Dest) | (Side::Dest, Side::Source))
    }
}

fn spec(id: Id) -> &'static Spec {
    let at = FIELDS.iter().position(|spec| spec.id == id);
    &FIELDS[at.unwrap_or_default()]
}

fn of_end(name: &str, side: Side, takes: impl Fn(&Spec) -> bool) -> Result<Option<Field>, String> {
    if let Some(key) = LABEL_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if key.is_empty() || key.len() > MAX_LABEL_LEN || !key.chars().all(good) {
            return Err(format!("{key:?} is no label's name; write letters, digits, . _ - /, as in label.app"));
        }
        return Ok(Some(Field { id: Id::Label, side, key: key.into() }));
    }
    let called = |spec: &&Spec| spec.id != Id::Label && (spec.name == name || spec.aliases.contains(&name));
    let found = FIELDS.iter().find(called).filter(|spec| takes(spec));
    Ok(found.map(|spec| Field { id: spec.id, side, key: Box::default() }))
}

fn unknown(name: &str) -> String {
    let names: Vec<String> = names().collect();
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("there is no field {name:?}; did you mean {near}?"),
        None if matches!(name, "label" | "labels") || name.ends_with(".label") || name.ends_with(".labels") => {
            format!("a label's name must follow, as in {name}.app")
        }
        None => format!("there is no field {name:?}; `tidegate query fields` lists them"),
    }
}

/// Every name by which a field is printed; labels left out.
pub fn names() -> impl Iterator<Item = String> {
    FIELDS.iter().filter(|spec| spec.id != Id::Label).flat_map(|spec| {
        let sided = if spec.ends == Ends::None { &[][..] } else { &["source.", "dest."] };
        sided.iter().map(|prefix| format!("{prefix}{}", spec.name)).chain([spec.name.to_owned()])
    })
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.side {
            Side::Source => "source.",
            Side::Dest => "dest.",
            Side::Either => "",
        })?;
        match self.id {
            Id::Label => write!(f, "label.{}", self.key),
            _ => f.write_str(self.spec().name),
        }
    }
}
