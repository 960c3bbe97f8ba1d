//! Against real Elasticsearch and OpenSearch.

use std::sync::OnceLock;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate::net::auth::Auth;
use tidegate::net::product::Kind;
use tidegate::net::tls::TlsConfig;
use tidegate::setup::{self, Options, SetupError, Summary, Wire};
use tidegate::sink::elastic::probe::{Finding, Level, probe};
use tidegate::sink::elastic::{Config, stats::Class};
use tidegate::unit::SecretRef;

use super::lane::{Lane, document, id, nowhere};
use crate::support::reduce::reduce;
use crate::support::servers::{self, Server};
use crate::support::{root, temp_dir};

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn wire(server: &Server, auth: Auth) -> Wire {
    let config = setup::Config { hosts: vec![server.url().to_owned()], auth, tls: server.tls() };
    let (wire, product) = block(setup::connect(&config)).expect("a connection");
    assert!(matches!(product.kind, Kind::Elasticsearch | Kind::OpenSearch));
    wire
}

/// What `setup` does, with the reduced objects.
fn install(server: &Server, kind: Kind, auth: Auth, options: Options) -> (Result<Summary, SetupError>, String) {
    let mut said = Vec::new();
    let wire = wire(server, auth);
    let summary = block(setup::apply(&wire, &reduce(kind, setup::shipped(kind)), options, &mut said));
    (summary, String::from_utf8(said).expect("UTF-8"))
}

/// The plain server of a kind, with our templates in it.
pub fn ready(kind: Kind) -> Option<&'static Server> {
    static DONE: [OnceLock<()>; 2] = [OnceLock::new(), OnceLock::new()];
    let server = plain(kind)?;
    DONE[kind as usize].get_or_init(|| {
        let (summary, said) = install(server, kind, Auth::None, Options::default());
        println!("{said}");
        summary.expect("setup goes well");
    });
    Some(server)
}

/// Our templates on a server without security.
pub fn install_plain(server: &Server, kind: Kind) {
    let (summary, said) = install(server, kind, Auth::None, Options::default());
    summary.unwrap_or_else(|error| panic!("setup: {error}\n{said}"));
}

fn plain(kind: Kind) -> Option<&'static Server> {
    match kind {
        Kind::Elasticsearch => servers::elasticsearch(),
        Kind::OpenSearch => servers::opensearch(),
    }
}

/// A namespace of this process, so that an external server may be used again.
pub fn namespace(name: &str) -> String {
    format!("{name}_{}", std::process::id())
}

fn lane(server: &Server, namespace: &str) -> Lane {
    Lane::new(server.url(), |config, _| config.ecs.namespace = namespace.to_owned())
}

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod elasticsearch {
            $(#[test] fn $name() { super::$name(tidegate::net::product::Kind::Elasticsearch); })+
        }
        mod opensearch {
            $(#[test] fn $name() { super::$name(tidegate::net::product::Kind::OpenSearch); })+
        }
    };
}
pub(crate) use on_both;

on_both!(
    setup_twice_changes_nothing_the_second_time,
    batches_arrive_once,
    every_golden_document_fits_the_mapping,
    a_refused_document_is_put_away_and_the_rest_arrives,
    a_write_block_holds_and_its_end_releases,
    a_cluster_without_our_template_is_held_until_setup,
);

fn setup_twice_changes_nothing_the_second_time(kind: Kind) {
    let Some(server) = ready(kind) else { return };
    let (summary, said) = install(server, kind, Auth::None, Options::default());
    assert_eq!(summary.expect("again"), Summary { unchanged: 3, ..Summary::default() }, "{said}");
    let forced = Options { force: true, ..Options::default() };
    let (summary, _) = install(server, kind, Auth::None, forced);
    assert_eq!(summary.expect("forced"), Summary { updated: 3, ..Summary::default() });
    let (_, said) = install(server, kind, Auth::None, Options { force: true, dry_run: true });
    assert!(
        said.contains("would update index template logs-calico.flow:\nPUT /_index_template/logs-calico.flow\n{"),
        "{said}"
    );
}

fn batches_arrive_once(kind: Kind) {
    let Some(server) = ready(kind) else { return };
    let namespace = namespace("once");
    let mut lane = lane(server, &namespace);
    for start in [0, 1_000, 2_000] {
        lane.send(start..start + 1_000);
    }
    (0..3).for_each(|_| lane.expect(1_000, 0, 0));
    let stream = format!("logs-calico.flow-{namespace}");
    assert_eq!(server.count(&stream), 3_000);
    assert!(server.backing(&stream)[0].starts_with(".ds-"));
    // A replay meets its own documents.
    lane.send(500..1_500);
    lane.expect(1_000, 0, 0);
    assert_eq!((lane.stats.duplicate_documents.get(), lane.stats.created_documents.get()), (1_000, 3_000));
    assert_eq!(server.count(&stream), 3_000);
    lane.finish();
}

fn every_golden_document_fits_the_mapping(kind: Kind) {
    let Some(server) = ready(kind) else { return };
    let namespace = namespace("golden");
    let mut lane = lane(server, &namespace);
    let mut number = 0;
    for entry in std::fs::read_dir(root().join("fixtures/flows")).expect("fixtures") {
        let Ok(text) = std::fs::read_to_string(entry.expect("an entry").path().join("expected.ecs.jsonl")) else {
            continue;
        };
        for line in text.lines() {
            lane.add(number, line);
            number += 1;
        }
    }
    assert!(number > 20, "{number}");
    lane.seal();
    let settled = lane.settled();
    assert_eq!((settled.delivered, settled.rejected), (number, 0), "{:?}", lane.dead_letters());
    assert_eq!(server.count(&format!("logs-calico.flow-{namespace}")), number);
}

fn a_refused_document_is_put_away_and_the_rest_arrives(kind: Kind) {
    let Some(server) = ready(kind) else { return };
    let namespace = namespace("refused");
    let mut lane = lane(server, &namespace);
    // A wrong address alone would be ignored (ignore_malformed); a text in place of an object cannot be.
    let bad = r#"{"@timestamp":"2026-11-23T00:00:00Z","source":"no object"}"#;
    lane.add(0, &document(0));
    lane.add(1, bad);
    lane.add(2, r#"{"message":"no time"}"#);
    lane.add(3, &document(3));
    lane.seal();
    lane.expect(2, 2, 0);
    assert_eq!(server.count(&format!("logs-calico.flow-{namespace}")), 2);
    let letters = lane.dead_letters();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["id"], id(1).as_str());
    assert_eq!(letters[0]["document"], serde_json::from_str::<Value>(bad).unwrap());
    assert_eq!(letters[0]["status"], 400);
    let kind = letters[0]["type"].as_str().unwrap();
    assert!(matches!(kind, "document_parsing_exception" | "mapper_parsing_exception"), "{kind}");
    assert!(letters[0]["reason"].as_str().unwrap().chars().count() <= 201);
    assert_eq!(lane.stats.rejected(Class::Mapping).get(), 2);
}

fn a_write_block_holds_and_its_end_releases(kind: Kind) {
    let Some(server) = ready(kind) else { return };
    let namespace = namespace("blocked");
    let stream = format!("logs-calico.flow-{namespace}");
    let mut lane = lane(server, &namespace);
    lane.send([0]);
    lane.expect(1, 0, 0);
    let backing = server.backing(&stream).remove(0);
    // The flood stage answers its items with 429, a write block with 403: both hold.
    for (round, setting) in (0..).zip(["index.blocks.write", "index.blocks.read_only_allow_delete"]) {
        let set =
            |value: Value| server.ok(Method::PUT, &format!("/{backing}/_settings"), Some(&json!({setting: value})));
        set(true.into());
        lane.send(1 + round * 10..4 + round * 10);
        lane.expect_hold("blocked");
        lane.expect_nothing();
        set(Value::Null);
        lane.expect(3, 0, 0);
        assert_eq!(lane.stats.held(), None);
    }
    assert_eq!(server.count(&stream), 7);
    assert!(lane.dead_letters().is_empty());
}

fn secure(kind: Kind) -> Option<&'static Server> {
    match kind {
        Kind::Elasticsearch => servers::elasticsearch_secure(),
        Kind::OpenSearch => servers::opensearch_secure(),
    }
}

/// One story on the secure servers, which begin without our templates: nothing is delivered, `probe` and the hold say
/// why, `setup` over TLS mends it, and the document arrives in the data stream.
fn a_cluster_without_our_template_is_held_until_setup(kind: Kind) {
    let Some(server) = secure(kind) else { return };
    let folder = temp_dir();
    let stream = "logs-calico.flow-story";
    let mut lane = Lane::new(server.url(), |config, _| {
        config.ecs.namespace = "story".to_owned();
        config.tls = server.tls();
        config.auth = server.basic(folder.path(), "admin");
    });
    let found = |user: &str| findings(server, |config| config.auth = server.basic(folder.path(), user));

    lane.send([1]);
    lane.expect_hold("no_template");
    lane.expect_nothing();
    // OpenSearch would have made a plain index of the name.
    assert_eq!(server.call(Method::GET, &format!("/{stream}"), None).0, 404, "nothing was written");
    let [who, template, ..] = &found("admin")[..] else { panic!("two findings at least") };
    assert_eq!((who.level, template.level), (Level::Good, Level::Bad), "{who:?} {template:?}");
    assert!(who.text.ends_with("it lets us in") && who.text.contains(&kind.to_string()), "{}", who.text);
    assert!(template.text.contains("run `tidegate setup`"), "{}", template.text);

    let (summary, said) = install(server, kind, server.basic(folder.path(), "admin"), Options::default());
    assert_eq!(summary.expect("setup").created, 3, "{said}");
    lane.expect(1, 0, 0);
    assert_eq!(server.count(stream), 1);
    assert!(server.backing(stream)[0].starts_with(".ds-"));
    assert_eq!(found("admin")[1].level, Level::Good);
    // A shipper's rights are enough to ship; what it may not see is a note.
    assert!(found("shipper").iter().all(|finding| finding.level != Level::Bad), "{:?}", found("shipper"));

    who_may_what(server, folder.path());
    super::doubles::with_and_without_the_right_to_look(server, folder.path());
    too_large(server, folder.path());
    if kind == Kind::Elasticsearch {
        api_keys(server, folder.path());
    }
}

pub fn findings(server: &Server, adjust: impl FnOnce(&mut Config)) -> Vec<Finding> {
    let mut config = Config::new(vec![server.url().to_owned()], nowhere());
    config.tls = server.tls();
    adjust(&mut config);
    block(probe(&config)).expect("a usable configuration")
}

pub fn secure_lane(server: &Server, namespace: &str, auth: Auth) -> Lane {
    Lane::new(server.url(), |config, _| {
        config.ecs.namespace = namespace.to_owned();
        config.tls = server.tls();
        config.auth = auth;
    })
}

/// A shipper ships; a reader is held; a wrong password and a wrong authority are told in clear words.
fn who_may_what(server: &Server, folder: &std::path::Path) {
    let mut shipper = secure_lane(server, "rights", server.basic(folder, "shipper"));
    shipper.send(0..10);
    shipper.expect(10, 0, 0);

    let mut reader = secure_lane(server, "rights", server.basic(folder, "reader"));
    reader.send(10..20);
    reader.expect_hold("forbidden");
    reader.expect_nothing();
    assert!(reader.dead_letters().is_empty(), "a right says nothing about a document");

    let password = folder.join("wrong");
    std::fs::write(&password, "guess").unwrap();
    let wrong = Auth::Basic { username: "shipper".into(), password: SecretRef::File(password.clone()) };
    let [finding] = &findings(server, |config| config.auth = wrong.clone())[..] else { panic!("one finding") };
    let expected =
        format!("it does not let us in (401); check user shipper and the password in file {}", password.display());
    assert_eq!(finding.level, Level::Bad);
    assert!(finding.text.ends_with(&expected), "{}", finding.text);
    let mut lane = secure_lane(server, "rights", wrong);
    lane.send(20..25);
    lane.expect_hold("unauthorized");
    std::fs::write(&password, server.password("shipper")).unwrap();
    lane.expect(5, 0, 0);
    assert_eq!(server.count("logs-calico.flow-rights"), 15);

    let wrong_ca = TlsConfig { ca_file: server.told.wrong_ca.clone(), ..TlsConfig::default() };
    let [finding] = &findings(server, |config| config.tls = wrong_ca.clone())[..] else { panic!("one finding") };
    assert!(finding.text.contains("its issuer is not believed: set ca_file"), "{}", finding.text);
    let mut lane = Lane::new(server.url(), |config, _| config.tls = wrong_ca);
    lane.send([30]);
    lane.expect_hold("unreachable");
    assert_eq!(lane.stats.requests.get(), 0);
}

/// The server takes bodies of 2 MB, counted after inflating.
fn too_large(server: &Server, folder: &std::path::Path) {
    let mut lane = Lane::new(server.url(), |config, _| {
        config.ecs.namespace = "large".to_owned();
        config.tls = server.tls();
        config.auth = server.basic(folder, "shipper");
        config.batch_bytes = 8 << 20;
        config.batch_lines = 100_000;
    });
    let text = "a line of a log ".repeat(64);
    let document = format!(r#"{{"@timestamp":"2026-11-23T00:00:00Z","message":"{text}"}}"#);
    (0..5_000).for_each(|number| lane.add(number, &document));
    lane.seal();
    lane.expect(5_000, 0, 0);
    assert!(lane.stats.split_requests.get() >= 1);
    assert_eq!(server.count("logs-calico.flow-large"), 5_000);
    assert!(!lane.sink_is_full());
    (5_000..8_000).for_each(|number| lane.add(number, &document));
    assert!(lane.sink_is_full(), "the limit was learned");
}

/// A key that may create and nothing else; a revoked one is held, and a new one in its file goes on.
fn api_keys(server: &Server, folder: &std::path::Path) {
    let role = json!({"cluster": [], "indices": [{"names": ["logs-calico.flow-*"], "privileges": ["create_doc", "auto_configure"]}]});
    let make =
        || server.ok(Method::POST, "/_security/api_key", Some(&json!({"name": "t", "role_descriptors": {"t": role}})));
    let key = make();
    let file = folder.join("key");
    std::fs::write(&file, key["encoded"].as_str().unwrap()).unwrap();
    let mut lane = secure_lane(server, "keys", Auth::ApiKey(SecretRef::File(file.clone())));
    lane.send(0..10);
    lane.expect(10, 0, 0);
    let found = findings(server, |config| config.auth = Auth::ApiKey(SecretRef::File(file.clone())));
    assert!(found.iter().all(|finding| finding.level == Level::Note), "it may not ask, but ships: {found:?}");

    server.ok(Method::DELETE, "/_security/api_key", Some(&json!({"ids": [key["id"]]})));
    lane.send(10..20);
    lane.expect_hold("unauthorized");
    let again = make();
    let pair = format!("{}:{}\n", again["id"].as_str().unwrap(), again["api_key"].as_str().unwrap());
    std::fs::write(&file, pair).unwrap();
    lane.expect(10, 0, 0);
    assert_eq!(server.count("logs-calico.flow-keys"), 20);
}
