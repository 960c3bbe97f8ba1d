//! What `tidegate setup` installs, on every server that can be started here: Elasticsearch 8 and 9, OpenSearch 2 and 3.

pub mod corpus;
mod history;
mod install;
mod newcomer;
mod roles;
mod traps;
mod types;

use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tidegate::net::auth::Auth;
use tidegate::net::product::Product;
use tidegate::setup::{self, Choice, HISTORY, NAME, Object, Options, SetupError, Summary, What, Wire};

use crate::support::reduce::reduce;
use crate::support::servers::{self, Server};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Elasticsearch8,
    Elasticsearch9,
    OpenSearch2,
    OpenSearch3,
}

impl Peer {
    fn is_elasticsearch(self) -> bool {
        matches!(self, Self::Elasticsearch8 | Self::Elasticsearch9)
    }

    /// The server as it started; nothing of ours need be there.
    fn server(self) -> Option<&'static Server> {
        match self {
            Self::Elasticsearch8 => servers::elasticsearch_8(),
            Self::Elasticsearch9 => servers::elasticsearch(),
            Self::OpenSearch2 => servers::opensearch_2(),
            Self::OpenSearch3 => servers::opensearch(),
        }
    }

    /// The server with our templates, reduced to what it has, as their defaults are.
    fn ready(self) -> Option<&'static Server> {
        static DONE: [OnceLock<()>; 4] = [const { OnceLock::new() }; 4];
        let server = self.server()?;
        DONE[self as usize].get_or_init(|| {
            let _alone = alone();
            install(server, &Choice::default(), Options::default()).0.expect("setup goes well");
        });
        Some(server)
    }
}

/// Tests that change what is installed on the servers of the majors before run alone; all others only use it.
static INSTALLED: RwLock<()> = RwLock::new(());

fn alone() -> RwLockWriteGuard<'static, ()> {
    INSTALLED.write().unwrap_or_else(PoisonError::into_inner)
}

fn beside_others() -> RwLockReadGuard<'static, ()> {
    INSTALLED.read().unwrap_or_else(PoisonError::into_inner)
}

macro_rules! on_all {
    ($($name:ident),+ $(,)?) => {
        mod elasticsearch_8 { $(#[test] fn $name() { super::$name(crate::setup::Peer::Elasticsearch8); })+ }
        mod elasticsearch_9 { $(#[test] fn $name() { super::$name(crate::setup::Peer::Elasticsearch9); })+ }
        mod opensearch_2 { $(#[test] fn $name() { super::$name(crate::setup::Peer::OpenSearch2); })+ }
        mod opensearch_3 { $(#[test] fn $name() { super::$name(crate::setup::Peer::OpenSearch3); })+ }
    };
}
use on_all;

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn connect(server: &Server, auth: Auth) -> Result<(Wire, Product), SetupError> {
    let config = setup::Config { hosts: vec![server.url().to_owned()], auth, tls: server.tls() };
    block(setup::connect(&config))
}

/// Installs what was chosen, reduced, and gives what was said.
fn install(server: &Server, choice: &Choice, options: Options) -> (Result<Summary, SetupError>, String) {
    let (wire, product) = connect(server, Auth::None).expect("a connection");
    let objects = reduce(product.kind, setup::catalogue(product, choice, false).expect("a choice that fits"));
    let mut said = Vec::new();
    let summary = block(setup::apply(&wire, &objects, options, &mut said));
    (summary, String::from_utf8(said).expect("UTF-8"))
}

/// The objects under names, a pattern and a priority of this test's own, so that a server that others use stays as it is.
/// With the name of a stream that they are for.
fn apart(objects: Vec<Object>, name: &str) -> (Vec<Object>, String) {
    let own = format!("{NAME}-{name}_{}", std::process::id());
    let history = format!("{HISTORY}-{name}_{}", std::process::id());
    let rename = |text: &str| text.replace(NAME, &own).replace(HISTORY, &history);
    let move_apart = |mut object: Object| {
        object.name = rename(&object.name);
        object.body = serde_json::from_str(&rename(&object.body.to_string())).expect("JSON");
        if object.what == What::Index {
            object.body["priority"] = 600.into();
        }
        object
    };
    (objects.into_iter().map(move_apart).collect(), format!("{own}-default"))
}

/// A namespace of this process, so that an external server may be used again.
fn stream(name: &str) -> String {
    format!("logs-calico.flow-{name}_{}", std::process::id())
}

/// Flow-log lines as documents, by the built program.
fn convert(lines: &[String]) -> Vec<String> {
    let ran =
        crate::support::run(&["convert", "--to", "ecs", "--cluster", "c", "--node", "n"], lines.join("\n") + "\n");
    let documents: Vec<String> = ran.expect_code(0).stdout.lines().map(str::to_owned).collect();
    assert_eq!(documents.len(), lines.len());
    documents
}

/// A line of the flow log with these members beside, or instead of, its own.
fn line(members: &serde_json::Value) -> String {
    let mut line = serde_json::json!({
        "start_time": 1_767_225_600, "end_time": 1_767_225_900, "source_ip": "10.42.1.17", "source_name": "cart-1",
        "source_name_aggr": "cart-*", "source_namespace": "shop", "source_port": 41890, "source_type": "wep",
        "source_labels": {"labels": ["app=cart"]}, "dest_ip": "10.42.3.41", "dest_name": "orders-1",
        "dest_name_aggr": "orders-*", "dest_namespace": "orders", "dest_port": 8080, "dest_type": "wep",
        "dest_labels": {"labels": ["app=orders"]}, "proto": "tcp", "action": "allow", "reporter": "src",
        "policies": {"all_policies": ["0|default|orders/default.allow|allow|0"]}, "bytes_in": 1, "bytes_out": 2,
        "packets_in": 1, "packets_out": 1, "num_flows": 1, "num_flows_started": 1, "num_flows_completed": 1,
    });
    for (name, value) in members.as_object().expect("members") {
        line[name] = value.clone();
    }
    line.to_string()
}

/// All mappings of a stream, whatever its backing indices are named.
fn mapping(server: &Server, stream: &str) -> Vec<serde_json::Value> {
    let answer = server.ok(reqwest::Method::GET, &format!("/{stream}/_mapping"), None);
    answer.as_object().expect("indices").values().cloned().collect()
}

/// `_ignored` of every document that has any.
fn ignored(server: &Server, stream: &str) -> Vec<String> {
    let query = serde_json::json!({"query": {"exists": {"field": "_ignored"}}, "size": 1000, "_source": ["event.id"]});
    let answer = server.ok(reqwest::Method::POST, &format!("/{stream}/_search"), Some(&query));
    let hits = answer["hits"]["hits"].as_array().expect("hits").clone();
    hits.iter().map(|hit| format!("{} of {}", hit["_ignored"], hit["_source"]["event"]["id"])).collect()
}
