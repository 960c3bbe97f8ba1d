//! Least privilege on servers with security: each role is enough for its work, and each right less fails, with a message
//! that names it. Under Elasticsearch the roles are those of API keys, as we write them; under OpenSearch they are roles.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate::net::auth::Auth;
use tidegate::net::product::Kind;
use tidegate::setup::{self, Object, Options, What};
use tidegate::unit::SecretRef;

use super::{block, connect, convert, line};
use crate::support::reduce::reduce;
use crate::support::servers::{self, Server};
use crate::support::{run, temp_dir};

/// Above ours, and for the probe's streams alone: other tests want this server without our templates.
const TEMPLATE: &str = "tidegate-test-roles";
const SHIPPED: &str = "logs-calico.flow-tidegate_verify_roles";

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

    /// One document into a stream that is new.
    fn ships(&self, name: &str) -> Result<(), String> {
        let stream = format!("{SHIPPED}_{name}_{}", std::process::id());
        let document = &convert(&[line(&json!({}))])[0];
        let body = format!("{{\"create\":{{}}}}\n{document}\n");
        let body = Some(("application/x-ndjson", body));
        let path = format!("/{stream}/_bulk");
        let (status, answer) = self.server.call_as(Some((&self.name, &self.secret)), Method::POST, &path, body);
        match answer["items"][0]["create"]["status"].as_u64().unwrap_or(status.into()) {
            201 => Ok(()),
            status => Err(format!("{status}: {answer}")),
        }
    }

    /// What the look-up before a resend asks: the backing indices, and one of their documents.
    fn looks_up(&self, stream: &str) -> Result<(), String> {
        let (status, answer) = self.call(Method::GET, &format!("/_resolve/index/{stream}"), None);
        let backing = &answer["data_streams"][0]["backing_indices"];
        let Some(backing) = backing.as_str().or_else(|| backing[0].as_str()) else {
            return Err(format!("resolve {status}: {answer}"));
        };
        let ids = json!({"docs": [{"_index": backing, "_id": "x", "_source": false}]});
        let (status, answer) = self.call(Method::POST, "/_mget", Some(&ids));
        let error = &answer["docs"][0]["error"];
        if status == 200 && error.is_null() { Ok(()) } else { Err(format!("mget {status}: {answer}")) }
    }

    fn searches(&self, stream: &str) -> Result<(), String> {
        let (status, answer) = self.call(Method::GET, &format!("/{stream}/_search"), None);
        if status == 200 { Ok(()) } else { Err(format!("{status}: {answer}")) }
    }
}

fn story(server: &Server, kind: Kind, rights: &[(&str, &str, &str, &str)]) {
    probe_template(server, kind);
    let folder = temp_dir();
    let shipped = format!("{SHIPPED}_seed_{}", std::process::id());
    server.bulk(&shipped, &convert(&[line(&json!({}))]));
    let attempt = |role: &Object, work: &str, name: &str| -> Result<(), String> {
        let holder = Holder::new(server, kind, role, folder.path());
        assert_eq!(holder.kind, kind);
        match work {
            "install" => holder.installs(),
            "verify" => holder.verifies(),
            "ship" => holder.ships(name),
            "look up" => holder.looks_up(&shipped),
            _ => holder.searches(&shipped),
        }
    };
    for (name, work) in [
        ("tidegate-setup", "install"),
        ("tidegate-setup", "verify"),
        ("tidegate-ship", "ship"),
        ("tidegate-ship-lookup", "ship"),
        ("tidegate-ship-lookup", "look up"),
        ("tidegate-read", "search"),
    ] {
        let done = attempt(&role(kind, name), work, &format!("all_{}", work.replace(' ', "")));
        assert_eq!(done, Ok(()), "{name}: {work}");
    }
    // And none is for more than its work.
    for (name, work) in [
        ("tidegate-ship", "install"),
        ("tidegate-ship", "search"),
        ("tidegate-ship", "look up"),
        ("tidegate-read", "ship"),
        ("tidegate-read", "install"),
    ] {
        assert!(attempt(&role(kind, name), work, "more").is_err(), "{name} can {work}");
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
    // and the rights on tidegate-history-*, which only a transform uses. The look-up needs no view_index_metadata on 9.2.8,
    // where `read` resolves names, too; it stays for what older versions are documented to want.
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
            ("tidegate-ship", "create_doc", "ship", "security_exception"),
            ("tidegate-ship", "auto_configure", "ship", "security_exception"),
            ("tidegate-ship-lookup", "read", "look up", "mget"),
            ("tidegate-read", "read", "search", "security_exception"),
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
            ("tidegate-ship", "indices:data/write/bulk", "ship", "security_exception"),
            ("tidegate-ship", "indices:data/write/bulk*", "ship", "security_exception"),
            ("tidegate-ship", "indices:admin/create", "ship", "security_exception"),
            ("tidegate-ship", "indices:data/write/index", "ship", "security_exception"),
            ("tidegate-ship-lookup", "indices:admin/resolve/index", "look up", "resolve"),
            ("tidegate-ship-lookup", "indices:data/read/mget", "look up", "mget"),
            ("tidegate-ship-lookup", "indices:data/read/mget*", "look up", "mget"),
            ("tidegate-read", "read", "search", "security_exception"),
        ],
    );
}

/// `setup --only roles` as an administrator runs it: made, kept, compared; refused to whoever is none, with the right.
fn roles_are_installed(server: &Server, right: &str) {
    let folder = temp_dir();
    let file = |user: &str| {
        let file = folder.path().join(user);
        std::fs::write(&file, server.password(user)).expect("a secret file");
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
}

#[test]
fn elasticsearch_roles_are_installed() {
    let Some(server) = servers::elasticsearch_secure() else { return };
    roles_are_installed(server, "grant manage_security");
}

#[test]
fn opensearch_roles_are_installed() {
    let Some(server) = servers::opensearch_secure() else { return };
    roles_are_installed(server, "plugins.security.restapi.roles_enabled");
}
