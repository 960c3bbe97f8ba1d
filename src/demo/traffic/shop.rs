//! Who lives in the shop, and who talks to whom: data, and the pods made from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

/// The zones of `zones.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zone {
    Dmz,
    Trusted,
    Restricted,
    Outside,
}

impl Zone {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dmz => "dmz",
            Self::Trusted => "trusted",
            Self::Restricted => "restricted",
            Self::Outside => "outside",
        }
    }
}

/// A deployment.
#[derive(Debug)]
struct App {
    namespace: &'static str,
    name: &'static str,
    zone: Option<Zone>,
    process: &'static str,
}

const APPS: &[App] = &[
    App { namespace: "storefront", name: "web", zone: Some(Zone::Dmz), process: "/usr/sbin/nginx" },
    App { namespace: "storefront", name: "gateway", zone: Some(Zone::Dmz), process: "/usr/local/bin/envoy" },
    App { namespace: "checkout", name: "cart", zone: Some(Zone::Trusted), process: "/app/cart" },
    App { namespace: "checkout", name: "checkout-api", zone: Some(Zone::Trusted), process: "/usr/bin/java" },
    App { namespace: "orders", name: "orders-api", zone: Some(Zone::Trusted), process: "/usr/bin/python3.13" },
    App {
        namespace: "orders",
        name: "orders-db",
        zone: Some(Zone::Trusted),
        process: "/usr/lib/postgresql/17/bin/postgres",
    },
    App { namespace: "payments", name: "payments-api", zone: Some(Zone::Restricted), process: "/app/payments" },
    App { namespace: "ledger", name: "ledger-api", zone: Some(Zone::Restricted), process: "/app/ledger" },
    App {
        namespace: "ledger",
        name: "ledger-db",
        zone: Some(Zone::Restricted),
        process: "/usr/lib/postgresql/17/bin/postgres",
    },
    App { namespace: "kube-system", name: "coredns", zone: None, process: "/coredns" },
];

/// The zone that `zones.yaml` gives to an end, by what a document says of it; `None` is `unknown`.
pub(in crate::demo) fn zone_of(kind: &str, namespace: Option<&str>) -> Option<Zone> {
    match (kind, namespace) {
        ("net" | "ns", _) => Some(Zone::Outside),
        ("wep", Some(namespace)) => APPS.iter().find(|app| app.namespace == namespace).and_then(|app| app.zone),
        _ => None,
    }
}

/// One side of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    App(&'static str),
    /// Any pod that is not of kube-system.
    AnyApp,
    Internet,
    InternetV6,
    /// The bank's network set, `partners/acme-bank`.
    Partner,
    /// The node's own host endpoint.
    Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Allowed,
    DeniedAtSource,
    /// The source's half says allow, the destination's deny.
    DeniedAtDest,
    /// As [`Outcome::DeniedAtDest`], many ports in a row.
    Scan,
}

/// Who calls whom, how often, and what the policies say to it.
#[derive(Debug)]
pub(super) struct Route {
    pub weight: u32,
    pub from: Who,
    pub to: Who,
    /// Namespace, name and port name of the Service that is called.
    pub service: Option<(&'static str, &'static str, &'static str)>,
    pub proto: &'static str,
    /// `None` for ICMP.
    pub port: Option<u16>,
    /// The policy that decides at the destination (at the source, where that one denies).
    pub policy: &'static str,
    pub outcome: Outcome,
    pub domains: &'static [&'static str],
}

const fn tcp(weight: u32, from: Who, to: Who, port: u16, policy: &'static str) -> Route {
    Route {
        weight,
        from,
        to,
        service: None,
        proto: "tcp",
        port: Some(port),
        policy,
        outcome: Outcome::Allowed,
        domains: &[],
    }
}

const fn service(mut route: Route, namespace: &'static str, name: &'static str, port: &'static str) -> Route {
    route.service = Some((namespace, name, port));
    route
}

const fn with(mut route: Route, outcome: Outcome, domains: &'static [&'static str]) -> Route {
    route.outcome = outcome;
    route.domains = domains;
    route
}

/// The ports that a scan tries.
pub(super) const SCANNED: &[u16] = &[21, 22, 23, 445, 1433, 2375, 3306, 3389, 5900, 6379, 9200];

pub(super) const ROUTES: &[Route] = &[
    // Customers.
    tcp(150, Who::Internet, Who::App("web"), 8080, "allow-customers"),
    tcp(20, Who::InternetV6, Who::App("web"), 8080, "allow-customers"),
    service(tcp(120, Who::App("web"), Who::App("cart"), 8080, "allow-storefront"), "checkout", "cart", "http"),
    service(
        tcp(60, Who::App("gateway"), Who::App("checkout-api"), 8080, "allow-storefront"),
        "checkout",
        "checkout-api",
        "http",
    ),
    service(
        tcp(120, Who::App("cart"), Who::App("checkout-api"), 8080, "allow-namespace"),
        "checkout",
        "checkout-api",
        "http",
    ),
    service(
        tcp(110, Who::App("checkout-api"), Who::App("orders-api"), 8080, "allow-checkout"),
        "orders",
        "orders-api",
        "http",
    ),
    service(
        tcp(110, Who::App("orders-api"), Who::App("orders-db"), 5432, "allow-namespace"),
        "orders",
        "orders-db",
        "postgres",
    ),
    // Money.
    service(
        tcp(60, Who::App("checkout-api"), Who::App("payments-api"), 8443, "allow-checkout"),
        "payments",
        "payments-api",
        "https",
    ),
    service(
        tcp(60, Who::App("payments-api"), Who::App("ledger-api"), 8443, "allow-payments"),
        "ledger",
        "ledger-api",
        "https",
    ),
    service(
        tcp(60, Who::App("ledger-api"), Who::App("ledger-db"), 5432, "allow-namespace"),
        "ledger",
        "ledger-db",
        "postgres",
    ),
    with(
        tcp(25, Who::App("payments-api"), Who::Partner, 443, "allow-bank"),
        Outcome::Allowed,
        &["api.acme-bank.example"],
    ),
    with(
        tcp(15, Who::App("orders-api"), Who::Internet, 443, "allow-mail"),
        Outcome::Allowed,
        &["mail.example.net", "mx1.mail.example.net"],
    ),
    // What runs underneath.
    Route {
        weight: 130,
        from: Who::AnyApp,
        to: Who::App("coredns"),
        service: Some(("kube-system", "kube-dns", "dns")),
        proto: "udp",
        port: Some(53),
        policy: "allow-dns",
        outcome: Outcome::Allowed,
        domains: &[],
    },
    tcp(20, Who::Node, Who::AnyApp, 8081, "allow-probes"),
    Route {
        weight: 8,
        from: Who::App("gateway"),
        to: Who::Internet,
        service: None,
        proto: "icmp",
        port: None,
        policy: "allow-ping",
        outcome: Outcome::Allowed,
        domains: &[],
    },
    // What somebody should look at.
    with(tcp(3, Who::Internet, Who::App("web"), 22, "default-deny"), Outcome::Scan, &[]),
    with(tcp(2, Who::InternetV6, Who::App("gateway"), 22, "default-deny"), Outcome::Scan, &[]),
    with(
        tcp(12, Who::App("web"), Who::App("ledger-db"), 5432, "ledger-only-from-payments"),
        Outcome::DeniedAtDest,
        &[],
    ),
    with(tcp(10, Who::App("cart"), Who::App("ledger-api"), 8443, "zone-guard"), Outcome::DeniedAtSource, &[]),
    with(
        tcp(6, Who::App("gateway"), Who::Internet, 3333, "zone-guard"),
        Outcome::DeniedAtSource,
        &["pool.miner.example"],
    ),
    with(tcp(6, Who::App("cart"), Who::App("checkout-api"), 22, "default-deny"), Outcome::DeniedAtDest, &[]),
];

/// One end of a connection with everything that the log may say of it.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub ip: IpAddr,
    /// `None`: not an endpoint that has a name.
    pub name: Option<String>,
    pub name_aggr: String,
    pub namespace: &'static str,
    pub kind: &'static str,
    pub labels: Vec<String>,
    pub zone: Option<Zone>,
    /// It is a pod of this node, so this node reports its half.
    pub local: bool,
    pub process: &'static str,
}

#[derive(Debug)]
pub(super) struct Shop {
    /// The pods of each app, at least one of them on this node.
    pods: Vec<Vec<End>>,
    node: String,
}

impl Shop {
    pub(super) fn new(rng: &mut Rng, node: &str) -> Self {
        let pods = APPS.iter().enumerate().map(|(index, app)| pods(rng, index, app)).collect();
        Self { pods, node: node.to_owned() }
    }

    /// One end of a route. `local`: a pod of this node, because the other end is none.
    pub(super) fn pick(&self, rng: &mut Rng, who: Who, local: Option<bool>) -> End {
        match who {
            Who::App(name) => {
                let index = APPS.iter().position(|app| app.name == name).unwrap_or(0);
                self.pod(rng, index, local)
            }
            Who::AnyApp => {
                let index = rng.usize(..APPS.len() - 1);
                self.pod(rng, index, local)
            }
            Who::Internet => outside(internet_v4(rng)),
            Who::InternetV6 => outside(internet_v6(rng)),
            Who::Partner => partner(rng),
            Who::Node => End {
                ip: Ipv4Addr::new(172, 16, 4, 11).into(),
                name: Some(self.node.clone()),
                name_aggr: self.node.clone(),
                namespace: "-",
                kind: "hep",
                labels: vec!["kubernetes.io/os=linux".to_owned(), "node-role.kubernetes.io/worker=".to_owned()],
                zone: None,
                local: false,
                process: "-",
            },
        }
    }

    fn pod(&self, rng: &mut Rng, app: usize, local: Option<bool>) -> End {
        let pods = &self.pods[app];
        // The first pod of every app is on this node.
        let index = if local == Some(true) { 0 } else { rng.usize(..pods.len()) };
        pods[index].clone()
    }
}

fn pods(rng: &mut Rng, index: usize, app: &App) -> Vec<End> {
    let hash: String = (0..10).map(|_| char::from(*rng.choice(b"0123456789abcdef").unwrap_or(&b'0'))).collect();
    let mut labels = vec![format!("app={}", app.name), format!("pod-template-hash={hash}")];
    if let Some(zone) = app.zone {
        labels.push(format!("fw-zone={}", zone.name()));
    } else {
        labels.push("k8s-app=kube-dns".to_owned());
    }
    let replicas = rng.u8(2..=4);
    (0..replicas)
        .map(|replica| {
            let suffix: String =
                (0..5).map(|_| char::from(*rng.choice(b"bcdfghjklmnpqrstvwxz2456789").unwrap_or(&b'b'))).collect();
            let ip = Ipv4Addr::new(10, 42, u8::try_from(index).unwrap_or(0), 10 + replica * 7);
            End {
                ip: ip.into(),
                name: Some(format!("{}-{hash}-{suffix}", app.name)),
                name_aggr: format!("{}-{hash}-*", app.name),
                namespace: app.namespace,
                kind: "wep",
                labels: labels.clone(),
                zone: app.zone,
                local: replica % 2 == 0,
                process: app.process,
            }
        })
        .collect()
}

/// Addresses that are reserved for documentation: nobody's traffic is shown.
fn internet_v4(rng: &mut Rng) -> IpAddr {
    let host = rng.u8(1..=254);
    if rng.bool() { Ipv4Addr::new(203, 0, 113, host).into() } else { Ipv4Addr::new(198, 51, 100, host).into() }
}

fn internet_v6(rng: &mut Rng) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, rng.u16(1..0x40), 0, 0, 0, 0, rng.u16(1..)).into()
}

fn outside(ip: IpAddr) -> End {
    End {
        ip,
        name: None,
        name_aggr: "pub".to_owned(),
        namespace: "-",
        kind: "net",
        labels: Vec::new(),
        zone: Some(Zone::Outside),
        local: false,
        process: "-",
    }
}

fn partner(rng: &mut Rng) -> End {
    End {
        ip: Ipv4Addr::new(192, 0, 2, rng.u8(16..32)).into(),
        name: Some("acme-bank".to_owned()),
        name_aggr: "acme-bank".to_owned(),
        namespace: "partners",
        kind: "ns",
        labels: vec!["partner=acme-bank".to_owned(), "contract=2027-041".to_owned()],
        zone: Some(Zone::Outside),
        local: false,
        process: "-",
    }
}
