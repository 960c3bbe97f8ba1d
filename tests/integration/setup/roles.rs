//! Least privilege on servers with security: each role is enough for its work, and each right less fails, with a message
//! that names it. Under Elasticsearch the roles are those of API keys, as we write them; under OpenSearch they are roles.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate::net::auth::Auth;
use tidegate::net::product::Kind;
use tidegate::setup::{self, HISTORY, NAME, Object, Options, What};
use tidegate::unit::SecretRef;

use super::{block, connect, convert, line};
use crate::support::reduce::reduce;
use crate::support::servers::{self, Server};
use crate::support::{
    Running, SOON, free_port, http_get, root, run, side_by_side, temp_dir, tidegate, wait_for, wait_until,
};

/// Above ours, and for the probe's streams alone: other tests want this server without our templates.
const TEMPLATE: &str = "tidegate-test-roles";
const SHIPPED: &str = "logs-calico.flow-tidegate_verify_roles";
/// What the agent says when a right is missing.
const TO_SHIP: &str = "\"remedy\":\"grant create_doc and auto_configure on";
const TO_LOOK: &str = "\"remedy\":\"grant read and view_index_metadata on the stream";

/// Our mapping in a template of its own; put there once by the administrator.
fn probe_template(server: &Server, kind: Kind) {
    let objects = reduce(kind, setup::shipped(kind));
    let body = json!({"index_patterns": ["logs-calico.flow-tidegate_verify_*"], "priority": 600, "data_stream": {},
        "template": objects[1].body["template"], "_meta": {"managed_by": "tidegate"}});
    server.ok(Method::PUT, &format!("/_index_template/{TEMPLATE}"), Some(&body));
}

fn role(kind: Kind, name: &str) -> Object {
    setup::roles(kind).into_iter().find(|role| role.name == name).unwrap_or_else(|| panic!("no role {name}"))
}

/// The role without one right, wherever it stands.
fn without(role: &Object, right: &str) -> Object {
    fn strip(value: &mut Value, right: &str) -> usize {
        match value {
            Value::Array(items) => {
                let before = items.len();
                items.retain(|item| item != right);
                before - items.len() + items.iter_mut().map(|item| strip(item, right)).sum::<usize>()
            }
            Value::Object(members) => members.values_mut().map(|value| strip(value, right)).sum(),
            _ => 0,
        }
    }
    let mut less = role.clone();
    assert!(strip(&mut less.body, right) > 0, "{} has no right {right}", role.name);
    less
}

/// Somebody with exactly a role's rights.
struct Holder<'a> {
    server: &'a Server,
    kind: Kind,
    name: String,
    secret: String,
    auth: Auth,
}

impl<'a> Holder<'a> {
    fn new(server: &'a Server, kind: Kind, role: &Object, folder: &Path) -> Self {
        let number = std::fs::read_dir(folder).map_or(0, Iterator::count);
        let file = folder.join(format!("secret-{number}"));
        let (name, secret, auth) = match kind {
            Kind::Elasticsearch => {
                let answer = server.ok(Method::POST, "/_security/api_key", Some(&setup::api_key(role)));
                let key = answer["encoded"].as_str().expect("a key").to_owned();
                ("ApiKey".to_owned(), key, Auth::ApiKey(SecretRef::File(file.clone())))
            }
            Kind::OpenSearch => {
                let name = format!("test-{}-{number}-{}", role.name, std::process::id());
                let secret = "Kehrwieder-9-Sandtor".to_owned();
                let put = |what: &str, body: Value| {
                    server.ok(Method::PUT, &format!("/_plugins/_security/api/{what}/{name}"), Some(&body));
                };
                put("roles", role.body.clone());
                put("internalusers", json!({"password": secret}));
                put("rolesmapping", json!({"users": [name]}));
                let auth = Auth::Basic { username: name.clone(), password: SecretRef::File(file.clone()) };
                (name, secret, auth)
            }
        };
        std::fs::write(&file, &secret).expect("a secret file");
        Self { server, kind, name, secret, auth }
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(|body| ("application/json", body.to_string()));
        self.server.call_as(Some((&self.name, &self.secret)), method, path, body)
    }

    /// Installs an object of each kind that this server has; what went wrong.
    fn installs(&self) -> Result<(), String> {
        let (wire, _) = connect(self.server, self.auth.clone()).map_err(|error| error.to_string())?;
        let component = Object {
            what: What::Component,
            name: format!("{TEMPLATE}-{}", std::process::id()),
            body: json!({"template": {"settings": {"index": {"number_of_shards": 1}}}}),
        };
        let index = Object {
            what: What::Index,
            name: component.name.clone(),
            body: json!({"index_patterns": [format!("{}-*", component.name)], "data_stream": {}, "composed_of": [component.name]}),
        };
        for part in [component, index] {
            block(setup::apply(&wire, &[part], Options { force: true, ..Options::default() }, &mut Vec::new()))
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn verifies(&self) -> Result<(), String> {
        let (wire, product) = connect(self.server, self.auth.clone()).map_err(|error| error.to_string())?;
        let checks = block(setup::verify(&wire, product, &mut Vec::new())).map_err(|error| error.to_string())?;
        // Where streams cannot be removed, the document would be, which is no right of the role's.
        let bad = |check: &setup::Check| !check.good && !check.text.contains("indices:data/write/delete");
        let bad: Vec<_> = checks.into_iter().filter(bad).map(|check| check.text).collect();
        if bad.is_empty() { Ok(()) } else { Err(bad.join("\n")) }
    }

    /// The built agent with these rights and no state, over one line of a log.
    fn agent(&self, place: &Path, namespace: &str, timeout: &str) -> (Command, u16) {
        let port = free_port();
        let secret = json!({"file": match &self.auth {
            Auth::ApiKey(SecretRef::File(file)) | Auth::Basic { password: SecretRef::File(file), .. } => file,
            _ => panic!("a secret in a file"),
        }});
        let auth = match self.kind {
            Kind::Elasticsearch => json!({"api_key": secret}),
            Kind::OpenSearch => json!({"basic": {"username": self.name, "password": secret}}),
        };
        let config = json!({
            "cluster": "c", "node": "n", "listen": format!("127.0.0.1:{port}"),
            "state_dir": place.join(format!("state-{port}")), "sources": [{"path": place.join("flows.log")}],
            "sinks": {"elasticsearch": {"hosts": [self.server.url()], "namespace": namespace, "timeout": timeout,
                "auth": auth, "tls": {"ca_file": self.server.told.ca}}},
        });
        std::fs::write(place.join("flows.log"), line(&json!({})) + "\n").expect("a log");
        let file = place.join(format!("tidegate-{port}.json"));
        std::fs::write(&file, config.to_string()).expect("a configuration");
        (tidegate(&["run", "-c", file.to_str().expect("UTF-8")]), port)
    }

    /// The agent delivers, into a stream that is new; or what it says and shows when it holds.
    fn ships(&self, place: &Path, namespace: &str) -> Result<(), String> {
        let (mut command, port) = self.agent(place, namespace, "60s");
        let agent = Running::start(&mut command);
        let metric = |metrics: &str, line: &str| metrics.lines().any(|of| of == line);
        wait_for("a delivery or a hold", 2 * SOON, || {
            let (_, metrics) = http_get(port, "/metrics")?;
            let delivered = metric(&metrics, "tidegate_lane_delivered_lines_total{lane=\"elasticsearch\"} 1");
            let held = metric(&metrics, "tidegate_elastic_held 1.0").then(|| agent.said());
            let held = held.filter(|said| said.contains("\"hold\":\"forbidden\""));
            if delivered { Some(Ok(())) } else { held.map(Err) }
        })
    }

    /// The agent meets its own document, which stands in an older backing index, and finds it; or what it says instead.
    fn looks_up(&self, place: &Path, namespace: &str) -> Result<(), String> {
        let stream = format!("{NAME}-{namespace}");
        let once = |agent: (Command, u16)| {
            let ran = Running::start({ agent }.0.args(["--once", "--timeout", "40s"])).wait(3 * SOON);
            if ran.code() == Some(0) { Ok(ran.stderr) } else { Err(format!("{}: {}", ran.status, ran.stderr)) }
        };
        once(self.agent(place, namespace, "60s"))?;
        self.server.ok(Method::POST, &format!("/{stream}/_rollover"), None);
        // Nothing is remembered, as its state is another. A look waits for the time that a request may take.
        let said = once(self.agent(place, namespace, "5s"))?;
        match self.server.count(&stream) {
            1 => Ok(()),
            count => Err(format!("{count} copies: {said}")),
        }
    }

    fn asks(&self, path: &str) -> Result<(), String> {
        let (status, answer) = self.call(Method::GET, path, None);
        if status == 200 { Ok(()) } else { Err(format!("{status}: {answer}")) }
    }
}

fn story(server: &Server, kind: Kind, rights: &[(&str, &str, &str, &str)]) {
    probe_template(server, kind);
    let folder = temp_dir();
    let shipped = format!("{SHIPPED}_seed_{}", std::process::id());
    server.bulk(&shipped, &convert(&[line(&json!({}))]));
    let history = format!("{HISTORY}-roles-{}", std::process::id());
    server.ok(Method::PUT, &format!("/{history}"), None);
    let attempt = |role: &Object, work: &str, name: &str| -> Result<(), String> {
        let holder = Holder::new(server, kind, role, folder.path());
        let (place, namespace) =
            (temp_dir(), format!("tidegate_verify_roles_{name}_{}", std::process::id()).replace('-', "_"));
        match work {
            "install" => holder.installs(),
            "verify" => holder.verifies(),
            "ship" => holder.ships(place.path(), &namespace),
            "look up" => holder.looks_up(place.path(), &namespace),
            "see fields" => holder.asks(&format!("/{shipped}/_mapping")),
            "see names" => holder.asks(&format!("/_resolve/index/{shipped}")),
            "read history" => holder.asks(&format!("/{history}/_search")),
            "guard" => {
                let (status, answer) =
                    holder.call(Method::POST, &format!("/_index_template/_simulate_index/{SHIPPED}_new"), None);
                if status == 200 { Ok(()) } else { Err(format!("{status}: {answer}")) }
            }
            _ => holder.asks(&format!("/{shipped}/_search")),
        }
    };
    let guard = (kind == Kind::OpenSearch).then_some(("tidegate-ship", "guard"));
    for (name, work) in [
        ("tidegate-setup", "install"),
        ("tidegate-setup", "verify"),
        ("tidegate-ship", "ship"),
        ("tidegate-ship-lookup", "ship"),
        ("tidegate-ship-lookup", "look up"),
        ("tidegate-read", "search"),
        ("tidegate-read", "read history"),
        ("tidegate-read", "see fields"),
        ("tidegate-read", "see names"),
    ]
    .into_iter()
    .chain(guard)
    {
        let done = attempt(&role(kind, name), work, &format!("all_{name}_{}", work.replace(' ', "")));
        assert_eq!(done, Ok(()), "{name}: {work}");
    }
    // And none is for more than its work.
    for (name, work, told) in [
        ("tidegate-ship", "install", "grant "),
        ("tidegate-ship", "search", "security_exception"),
        ("tidegate-ship", "look up", TO_LOOK),
        ("tidegate-ship", "read history", "security_exception"),
        ("tidegate-read", "ship", TO_SHIP),
        ("tidegate-read", "install", "grant "),
    ] {
        let done = attempt(&role(kind, name), work, &format!("more_{name}_{}", work.replace(' ', "")));
        let error = done.expect_err(&format!("{name} can {work}"));
        assert!(error.contains(told), "{name}: {work}: no {told:?} in {error}");
    }
    for (number, (name, right, work, told)) in rights.iter().enumerate() {
        let error = attempt(&without(&role(kind, name), right), work, &format!("less_{number}"));
        let error = error.expect_err(&format!("{name} without {right}: {work}"));
        assert!(error.contains(told), "{name} without {right}: {work}: no {told:?} in {error}");
    }
}

#[test]
fn elasticsearch_each_right_is_needed() {
    let Some(server) = servers::elasticsearch_secure() else { return };
    // Not here, as the small server has no such thing: manage_ilm, manage_ingest_pipelines, manage_transform, delete_index,
    // and the rights of tidegate-setup on tidegate-history-*, which only a transform uses.
    story(
        server,
        Kind::Elasticsearch,
        &[
            ("tidegate-setup", "monitor", "install", "grant monitor"),
            ("tidegate-setup", "manage_index_templates", "install", "grant manage_index_templates"),
            ("tidegate-setup", "create_doc", "verify", "grant create_doc and auto_configure"),
            ("tidegate-setup", "auto_configure", "verify", "grant create_doc and auto_configure"),
            ("tidegate-setup", "read", "verify", "grant read"),
            ("tidegate-setup", "view_index_metadata", "verify", "grant view_index_metadata"),
            ("tidegate-ship", "create_doc", "ship", TO_SHIP),
            ("tidegate-ship", "auto_configure", "ship", TO_SHIP),
            ("tidegate-ship-lookup", "read", "look up", TO_LOOK),
            ("tidegate-ship-lookup", "view_index_metadata", "look up", TO_LOOK),
            ("tidegate-read", "read", "search", "security_exception"),
            ("tidegate-read", "read", "read history", "security_exception"),
            ("tidegate-read", "view_index_metadata", "see fields", "security_exception"),
        ],
    );
}

#[test]
fn opensearch_each_right_is_needed() {
    let Some(server) = servers::opensearch_secure() else { return };
    story(
        server,
        Kind::OpenSearch,
        &[
            ("tidegate-setup", "cluster_monitor", "install", "grant monitor (cluster_monitor"),
            (
                "tidegate-setup",
                "cluster:admin/component_template/*",
                "install",
                "grant cluster:admin/component_template/*",
            ),
            ("tidegate-setup", "indices:admin/index_template/*", "install", "grant indices:admin/index_template/*"),
            ("tidegate-setup", "indices:data/write/bulk", "verify", "grant create_doc"),
            ("tidegate-setup", "indices:data/read/search", "verify", "grant read"),
            ("tidegate-setup", "indices:admin/mappings/get", "verify", "indices:admin/mappings/get"),
            ("tidegate-setup", "indices:admin/data_stream/delete", "verify", "indices:admin/data_stream/delete"),
            ("tidegate-ship", "indices:data/write/bulk", "ship", TO_SHIP),
            ("tidegate-ship", "indices:data/write/bulk*", "ship", TO_SHIP),
            ("tidegate-ship", "indices:admin/create", "ship", TO_SHIP),
            ("tidegate-ship", "indices:data/write/index", "ship", TO_SHIP),
            ("tidegate-ship", "indices:admin/index_template/simulate_index", "guard", "security_exception"),
            ("tidegate-ship-lookup", "indices:admin/resolve/index", "look up", TO_LOOK),
            ("tidegate-ship-lookup", "indices:monitor/settings/get", "look up", TO_LOOK),
            ("tidegate-ship-lookup", "indices:data/read/mget", "look up", TO_LOOK),
            ("tidegate-ship-lookup", "indices:data/read/mget*", "look up", TO_LOOK),
            ("tidegate-read", "indices:admin/mappings/get", "see fields", "security_exception"),
            ("tidegate-read", "read", "read history", "security_exception"),
            ("tidegate-read", "read", "search", "security_exception"),
        ],
    );
}

/// `setup --only roles` as an administrator runs it: made, kept, compared; refused to whoever is none, with the right.
fn roles_are_installed(server: &Server, right: &str) {
    let folder = temp_dir();
    let file = |user: &str| {
        let file = folder.path().join(user);
        if !file.exists() {
            std::fs::write(&file, server.password(user)).expect("a secret file");
        }
        file.to_str().expect("UTF-8").to_owned()
    };
    let ca = server.told.ca.as_ref().and_then(|ca| ca.to_str()).expect("a CA").to_owned();
    let setup = |user: &str, code: i32, more: &[&str]| {
        let password = file(user);
        let mut args = vec!["setup", "--only", "roles", "--elasticsearch", server.url(), "--ca-file", &ca];
        args.extend(["--username", user, "--password-file", &password]);
        args.extend(more);
        run(&args, "").expect_code(code)
    };
    let told = setup("admin", 0, &[]);
    assert!(told.stderr.contains("created 4, updated 0, unchanged 0"), "{}", told.stderr);
    let told = setup("admin", 0, &[]);
    assert!(told.stderr.contains("created 0, updated 0, unchanged 4"), "{}{}", told.stdout, told.stderr);
    assert!(setup("admin", 0, &["--diff"]).stderr.contains("equal 4"));
    let told = setup("reader", 1, &[]).stderr;
    assert!(told.contains(right) && told.contains("nothing was written"), "{told}");
    // As from several nodes or pipelines at once: OpenSearch keeps all roles in one document, where one write meets another.
    side_by_side(0..4, |_| {
        let told = setup("admin", 0, &["--force"]);
        assert!(told.stderr.contains("updated 4"), "{}", told.stderr);
    });
}

#[test]
fn elasticsearch_roles_are_installed() {
    let Some(server) = servers::elasticsearch_secure() else { return };
    // The first key makes the server's index of security, which answers 503 for a moment, whoever asks.
    let key = setup::api_key(&role(Kind::Elasticsearch, "tidegate-read"));
    wait_until("the index of security", SOON, || {
        let made = server.call(Method::POST, "/_security/api_key", Some(&key)).0 < 300;
        made && server.call(Method::GET, "/_security/role/tidegate-read", None).0 != 503
    });
    roles_are_installed(server, "grant manage_security");
}

#[test]
fn opensearch_roles_are_installed() {
    let Some(server) = servers::opensearch_secure() else { return };
    roles_are_installed(server, "plugins.security.restapi.roles_enabled");
}

/// The rights of each role, from its file.
fn rights(kind: Kind) -> String {
    let quoted = |list: &Value| {
        let items = list.as_array().into_iter().flatten().filter_map(Value::as_str).map(|item| format!("`{item}`"));
        items.collect::<Vec<_>>().join(", ")
    };
    let (title, cluster, indices, names, may) = match kind {
        Kind::Elasticsearch => ("Elasticsearch", "cluster", "indices", "names", "privileges"),
        Kind::OpenSearch => {
            ("OpenSearch", "cluster_permissions", "index_permissions", "index_patterns", "allowed_actions")
        }
    };
    let mut out = format!("\n| {title} | on the cluster | on indices |\n|---|---|---|\n");
    for role in setup::roles(kind) {
        let entries = role.body[indices].as_array().into_iter().flatten();
        let entries: Vec<_> =
            entries.map(|entry| format!("{}: {}", quoted(&entry[names]), quoted(&entry[may]))).collect();
        let _ = writeln!(out, "| `{}` | {} | {} |", role.name, quoted(&role.body[cluster]), entries.join("<br>"));
    }
    out
}

/// The page lists what the files hold, and every role.
#[test]
fn the_page_lists_every_right() {
    const BEGIN: &str = "<!-- built from mappings/roles: begin -->\n";
    const END: &str = "\n<!-- built from mappings/roles: end -->";
    let path = "deploy/docs/elasticsearch.md";
    let page = std::fs::read_to_string(root().join(path)).expect("the page");
    let (head, rest) = page.split_once(BEGIN).expect("the mark of its begin");
    let (_, tail) = rest.split_once(END).expect("the mark of its end");
    let tables = rights(Kind::Elasticsearch) + &rights(Kind::OpenSearch);
    crate::boards::built::assert_file(path, &format!("{head}{BEGIN}{tables}{END}{tail}"));
    let roles = setup::files(setup::NEWEST[0], &setup::Choice::default(), &[setup::Part::Roles]).expect("files");
    let key = roles.iter().find(|(name, _)| name.ends_with("api-key-tidegate-ship-lookup.json")).expect("a key");
    assert!(head.contains(&format!("@DIR/{} ", key.0)), "{}", key.0);
    for role in setup::roles(Kind::Elasticsearch) {
        assert!(head.contains(&format!("| `{}` | ", role.name)), "what {} is for", role.name);
    }
}
