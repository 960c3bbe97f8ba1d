//! Installing, again, comparing, upgrading, refusing; and the program as a user runs it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate::net::auth::Auth;
use tidegate::net::product::Kind;
use tidegate::setup::{self, Choice, Codec, Compared, IndexMode, Lifecycle, NAME, Object, Options, SetupError, What};

use super::{Peer, alone, apart, beside_others, block, connect, convert, corpus::all_taken, install, line};
use crate::support::reduce::reduce;
use crate::support::servers::Server;
use crate::support::{Ran, root, run, run_command, temp_dir, went_without};

super::on_all!(
    a_probe_finds_all_good,
    every_choice_is_installed_or_named,
    our_template_wins_over_others,
    an_earlier_version_is_brought_up_to_date,
    what_others_manage_is_refused,
);

fn a_probe_finds_all_good(peer: Peer) {
    let Some(server) = peer.ready() else { return };
    let _guard = beside_others();
    let (wire, product) = connect(server, Auth::None).expect("a connection");
    let mut said = Vec::new();
    let checks = block(setup::verify(&wire, product, &mut said)).expect("a probe");
    let said = String::from_utf8(said).expect("UTF-8");
    assert!(checks.len() == 5 && checks.iter().all(|check| check.good), "{said}");
    let removed = if peer.is_elasticsearch() { "stays, empty" } else { "is removed" };
    assert!(said.trim_end().ends_with(removed), "{said}");
}

/// Where the source is rebuilt, labels may come back in another shape.
#[test]
fn a_probe_finds_all_good_under_logsdb() {
    let Some(server) = Peer::Elasticsearch8.ready() else { return };
    let _alone = alone();
    let (wire, product) = connect(server, Auth::None).expect("a connection");
    let logsdb = Choice { index_mode: IndexMode::Logsdb, ..Choice::default() };
    install(server, &logsdb, Options::default()).0.expect("installed");
    let checks = block(setup::verify(&wire, product, &mut Vec::new()));
    install(server, &Choice::default(), Options::default()).0.expect("as it was");
    let checks = checks.expect("a probe");
    assert!(checks.len() == 5 && checks.iter().all(|check| check.good), "{checks:#?}");
}

/// What is chosen, and which product cannot have it.
fn choices() -> Vec<(&'static str, Choice, Option<Kind>)> {
    let choice = Choice::default;
    let after = |days: u64| Duration::from_secs(days * 86_400);
    let frozen = Some((after(14), "flows".to_owned()));
    let (elasticsearch, opensearch) = (Some(Kind::Elasticsearch), Some(Kind::OpenSearch));
    vec![
        ("default", choice(), None),
        ("plain", Choice { codec: Codec::Default, ..choice() }, None),
        ("none", Choice { lifecycle: Lifecycle::None, ..choice() }, None),
        ("nofs", Choice { failure_store: false, ..choice() }, None),
        ("warm", Choice { warm: Some(after(2)), ..choice() }, None),
        ("history", Choice { history: Some(after(365)), ..choice() }, None),
        ("ilm", Choice { lifecycle: Lifecycle::Ilm, ..choice() }, opensearch),
        ("dsl", Choice { lifecycle: Lifecycle::DataStream, retention: after(7), ..choice() }, opensearch),
        ("tiers", Choice { warm: Some(after(2)), cold: Some(after(7)), frozen, ..choice() }, opensearch),
        ("logsdb", Choice { index_mode: IndexMode::Logsdb, ..choice() }, opensearch),
        ("logsdbplain", Choice { index_mode: IndexMode::Logsdb, codec: Codec::Default, ..choice() }, opensearch),
        ("ism", Choice { lifecycle: Lifecycle::Ism, ..choice() }, elasticsearch),
    ]
}

/// Every choice that a server can follow: installed, found equal, and in force in a stream made with it. What it cannot is
/// refused before anything is sent, and printed.
fn every_choice_is_installed_or_named(peer: Peer) {
    let Some(server) = peer.server() else { return };
    let (wire, product) = connect(server, Auth::None).expect("a connection");
    for (name, choice, lacks) in choices() {
        let objects = match setup::catalogue(product, &choice, false) {
            Ok(objects) => objects,
            Err(why) => {
                let why = SetupError::Choice(why).to_string();
                println!("{product} cannot have {name}: {why}");
                assert_eq!(lacks, Some(product.kind), "{name}: {why}");
                continue;
            }
        };
        assert_ne!(lacks, Some(product.kind), "{name}");
        let (objects, stream) = apart(reduce(product.kind, objects), name);
        let count = objects.len();
        let mut said = Vec::new();
        let mut apply = || block(setup::apply(&wire, &objects, Options::default(), &mut said)).expect(name);
        assert_eq!((apply().created, apply().unchanged), (count, count), "{name}");
        let compared = block(setup::diff(&wire, &objects, &mut said)).expect(name);
        assert_eq!(compared, Compared { equal: count, different: 0, lacking: 0 }, "{name}");
        in_force(server, product.kind, &choice, &objects, &stream);
    }
}

fn in_force(server: &Server, kind: Kind, choice: &Choice, objects: &[Object], stream: &str) {
    all_taken(&server.bulk(stream, &convert(&[line(&json!({}))])));
    let answer = server.ok(Method::GET, &format!("/{stream}/_settings"), None);
    let index = &answer.as_object().and_then(|all| all.values().next()).expect("an index")["settings"]["index"];
    let elasticsearch = kind == Kind::Elasticsearch;
    let codec = if choice.codec == Codec::Default { "default" } else { "best_compression" };
    let mode = if choice.index_mode == IndexMode::Logsdb { "logsdb" } else { "standard" };
    assert_eq!(
        (index["codec"].as_str(), index["mode"].as_str()),
        (Some(codec), elasticsearch.then_some(mode)),
        "{index}"
    );
    let settings = objects.iter().find(|object| object.name.ends_with("@settings")).expect("settings");
    let installed = server.ok(Method::GET, &settings.path(), None);
    let template = &installed["component_templates"][0]["component_template"]["template"];
    let retention = (choice.lifecycle == Lifecycle::DataStream).then_some("7d");
    assert_eq!(template["lifecycle"]["data_retention"].as_str(), retention, "{template}");
    let failures = (elasticsearch && choice.failure_store).then_some(true);
    assert_eq!(template["data_stream_options"]["failure_store"]["enabled"].as_bool(), failures, "{template}");
}

/// What would be made of a new stream, were this template there, too. The built-in templates of Elasticsearch are not in
/// the small distribution, so one of their pattern and priority stands in; and somebody's that is named more closely, but
/// stands lower. The other way round one above ours wins, so the question is a question.
fn our_template_wins_over_others(peer: Peer) {
    let Some(server) = peer.ready() else { return };
    let _guard = beside_others();
    for (pattern, priority, wins) in
        [("logs-*-*", 100, true), ("logs-calico.flow-simulated", 499, true), ("logs-calico.flow-simulated", 501, false)]
    {
        let other = json!({"index_patterns": [pattern], "priority": priority, "data_stream": {}, "template": {"mappings": {
            "dynamic": true, "properties": {"source": {"properties": {"ip": {"type": "keyword"}}}, "theirs": {"type": "keyword"}}}}});
        let path = format!("/_index_template/_simulate_index/{NAME}-simulated");
        let answer = server.ok(Method::POST, &path, Some(&other));
        let mappings = &answer["template"]["mappings"];
        let ip = if wins { "ip" } else { "keyword" };
        assert_eq!(mappings["properties"]["source"]["properties"]["ip"]["type"], ip, "{pattern} {priority}: {answer}");
        assert_eq!(mappings["properties"]["theirs"].is_null(), wins, "{pattern} {priority}");
        assert_eq!(mappings["dynamic"].to_string().trim_matches('"') == "false", wins, "{pattern} {priority}");
        let overlapping = answer["overlapping"].as_array().expect("those that stand lower");
        assert!(!overlapping.is_empty(), "{pattern} {priority}: {answer}");
    }
}

/// What an earlier version installed, as [`Object`]s whose bodies bear its mark.
fn earlier(kind: Kind) -> Vec<Object> {
    let product = if kind == Kind::Elasticsearch { "elasticsearch" } else { "opensearch" };
    let file = |(what, name): (What, String)| {
        let path = format!("fixtures/setup/0.0.9/{product}/{}-{name}.json", what.title().replace(' ', "-"));
        let text = std::fs::read_to_string(root().join(path)).expect("a fixture");
        Object { what, name, body: serde_json::from_str(&text).expect("JSON") }
    };
    let names = [
        (What::Component, format!("{NAME}@settings")),
        (What::Component, format!("{NAME}@mappings")),
        (What::Index, NAME.to_owned()),
    ];
    names.map(file).into()
}

fn an_earlier_version_is_brought_up_to_date(peer: Peer) {
    let Some(server) = peer.server() else { return };
    let (wire, product) = connect(server, Auth::None).expect("a connection");
    let (old, _) = apart(reduce(product.kind, earlier(product.kind)), "upgraded");
    for object in &old {
        server.ok(Method::PUT, &object.path(), Some(&object.body));
    }
    // The users' own, which OpenSearch must be told of.
    let name = old[2].name.clone();
    let custom = format!("/_component_template/{name}@custom");
    let theirs = json!({"template": {"settings": {"index": {"number_of_shards": "2"}}}, "_meta": {"managed_by": "us"}});
    server.ok(Method::PUT, &custom, Some(&theirs));
    let choice = Choice { failure_store: false, ..Choice::default() };
    let objects = setup::catalogue(product, &choice, true).expect("a choice that fits");
    let (objects, stream) = apart(reduce(product.kind, objects), "upgraded");

    let mut said = Vec::new();
    let compared = block(setup::diff(&wire, &objects, &mut said)).expect("compared");
    let told = String::from_utf8(std::mem::take(&mut said)).expect("UTF-8");
    let changed = if peer.is_elasticsearch() { 1 } else { 2 };
    assert_eq!((compared.different, compared.equal), (changed, 3 - changed), "{told}");
    let versions = format!(" (tidegate 0.0.9 to {})\n", env!("CARGO_PKG_VERSION"));
    says(
        &told,
        &format!(
            "different component template {name}@mappings{versions}  \
             template.mappings.date_detection: missing, should be false\n  \
             template.mappings.properties.calico.dynamic: missing, should be false\n  \
             template.mappings.properties.orchestrator.properties.resource.properties.label.ignore_above: 1024, should be 8191\n"
        ),
    );
    let summary = block(setup::apply(&wire, &objects, Options::default(), &mut said)).expect("upgraded");
    let told = String::from_utf8(std::mem::take(&mut said)).expect("UTF-8");
    assert_eq!((summary.updated, summary.unchanged), (changed, 3 - changed), "{told}");
    says(&told, &format!("updated component template {name}@mappings{versions}"));
    let compared = block(setup::diff(&wire, &objects, &mut said)).expect("compared");
    assert_eq!(compared, Compared { equal: 3, different: 0, lacking: 0 });

    let kept = server.ok(Method::GET, &custom, None);
    let kept = &kept["component_templates"][0]["component_template"];
    assert_eq!(
        (&kept["template"]["settings"]["index"]["number_of_shards"], &kept["_meta"]["managed_by"]),
        (&json!("2"), &json!("us"))
    );
    all_taken(&server.bulk(&stream, &convert(&[line(&json!({}))])));
    let settings = server.ok(Method::GET, &format!("/{stream}/_settings"), None);
    let index = &settings.as_object().and_then(|all| all.values().next()).expect("an index")["settings"]["index"];
    assert_eq!(index["number_of_shards"], "2", "{index}");
}

fn what_others_manage_is_refused(peer: Peer) {
    let Some(server) = peer.server() else { return };
    let (wire, product) = connect(server, Auth::None).expect("a connection");
    let (objects, _) = apart(reduce(product.kind, setup::shipped(product.kind)), "foreign");
    let [settings, mappings, index] = &objects[..] else { panic!("three objects: {objects:#?}") };
    let foreign = json!({"template": {"settings": {"number_of_shards": 1}}, "_meta": {"managed_by": "somebody"}});
    let nobodys = json!({"template": {"settings": {"number_of_shards": 1}}});
    server.ok(Method::PUT, &settings.path(), Some(&foreign));
    server.ok(Method::PUT, &mappings.path(), Some(&nobodys));
    let apply = |options| block(setup::apply(&wire, &objects, options, &mut Vec::new()));
    let error = apply(Options::default()).expect_err("they are not ours").to_string();
    let expected = format!(
        "{} is managed by somebody; {} exists and is not ours; rename them, or overwrite them with --force",
        settings.path(),
        mappings.path()
    );
    assert_eq!(error, expected);
    assert_eq!(server.call(Method::GET, &index.path(), None).0, 404, "nothing was written");
    let summary = apply(Options { force: true, dry_run: false }).expect("forced");
    assert_eq!((summary.created, summary.updated), (1, 2));
    assert_eq!(apply(Options::default()).expect("ours now").unchanged, 3);
}

struct Program<'a> {
    server: &'a Server,
}

impl Program<'_> {
    #[track_caller]
    fn setup(&self, code: i32, args: &[&str]) -> Ran {
        let mut all = vec!["setup", "--elasticsearch", self.server.url()];
        all.extend(args);
        run(&all, "").expect_code(code)
    }

    fn template(&self) -> Value {
        let answer = self.server.ok(Method::GET, &format!("/_index_template/{NAME}"), None);
        answer["index_templates"][0]["index_template"].clone()
    }

    fn put_template(&self, template: &Value) {
        self.server.ok(Method::PUT, &format!("/_index_template/{NAME}"), Some(template));
    }
}

#[track_caller]
fn says(text: &str, part: &str) {
    assert!(text.contains(part), "no {part:?} in\n{text}");
}

/// The program against an OpenSearch without index state management. It used to stop at the policy that the server has no
/// handler for, with exit code 1 and no template installed.
#[test]
fn what_the_server_lacks_is_passed_over() {
    let Some(server) = Peer::OpenSearch2.server() else { return };
    let _alone = alone();
    let program = Program { server };
    // Exit code 4: a part could not be had.
    let ran = program.setup(4, &[]);
    says(&ran.stdout, "passed over index state policy tidegate-flows: this server has no index state management");
    says(&ran.stderr, "passed over 1");
    // Nothing is lacking where no lifecycle is wanted.
    let ran = program.setup(0, &["--lifecycle", "none"]);
    says(&ran.stderr, "created 0, updated 0, unchanged 3, passed over 0");
    program.setup(0, &["--lifecycle", "none", "--diff"]);
    says(&program.setup(4, &["--only", "lifecycle"]).stderr, "passed over 1");
    says(&program.setup(1, &["--only", "dashboards"]).stderr, "--only dashboards needs --kibana URL");
    says(
        &program.setup(1, &["--lifecycle", "ilm"]).stderr,
        "ilm is not a thing of OpenSearch; choose auto, ism or none",
    );
    says(&program.setup(1, &["--index-mode", "logsdb"]).stderr, "logsdb needs Elasticsearch 8.17 or newer");
    says(&program.setup(4, &["--only", "roles"]).stdout, "this server has no security");
}

#[test]
fn differences_are_named_and_mended() {
    let Some(server) = Peer::OpenSearch2.server() else { return };
    let _alone = alone();
    let program = Program { server };
    let none = ["--lifecycle", "none"];
    program.setup(0, &none);

    // Another choice: compared, shown, done, found equal, and back.
    let other = ["--lifecycle", "none", "--codec", "default"];
    let diff = [&other[..], &["--diff"]].concat();
    says(&program.setup(3, &diff).stdout, "\n  template.settings.index.codec: best_compression, should be default\n");
    let ran = program.setup(0, &[&other[..], &["--dry-run"]].concat());
    says(
        &ran.stdout,
        "would update component template logs-calico.flow@settings:\nPUT /_component_template/logs-calico.flow@settings\n{",
    );
    program.setup(3, &diff);
    says(&program.setup(0, &other).stderr, "created 0, updated 1, unchanged 2");
    program.setup(0, &diff);
    program.setup(0, &none);

    // What a person changed by hand is seen, field by field.
    let mut template = program.template();
    template["priority"] = json!(400);
    template["template"] = json!({"settings": {"index": {"number_of_shards": "7"}}});
    program.put_template(&template);
    let told = program.setup(3, &["--lifecycle", "none", "--diff"]).stdout;
    says(
        &told,
        "different index template logs-calico.flow\n  priority: 400, should be 500\n  template.settings.index.number_of_shards: 7, should not be there\n",
    );
    program.setup(0, &none);
    program.setup(0, &["--lifecycle", "none", "--diff"]);
}

#[test]
fn whose_objects_are_whose() {
    let Some(server) = Peer::OpenSearch2.server() else { return };
    let _alone = alone();
    let program = Program { server };
    let none = ["--lifecycle", "none"];
    program.setup(0, &none);
    let with_meta = |meta: Value| {
        let mut template = program.template();
        template["_meta"] = meta;
        // A server tells what it does not take.
        template["data_stream"] = json!({});
        template["priority"] = json!(450);
        program.put_template(&template);
    };
    // As the first version of tidegate left it: ours, and brought up to date.
    with_meta(json!({"managed_by": "tidegate", "ecs_version": "9.4.0", "fingerprint": "0123456789abcdef"}));
    says(&program.setup(0, &none).stderr, "updated 1");
    for object in earlier(Kind::OpenSearch) {
        server.ok(Method::PUT, &object.path(), Some(&object.body));
    }
    let versions = format!("logs-calico.flow@mappings (tidegate 0.0.9 to {})", env!("CARGO_PKG_VERSION"));
    says(
        &program.setup(3, &["--lifecycle", "none", "--diff"]).stdout,
        &format!("different component template {versions}\n"),
    );
    says(&program.setup(0, &none).stdout, &format!("updated component template {versions}\n"));
    program.setup(0, &["--lifecycle", "none", "--diff"]);
    // By a newer one: not taken back.
    with_meta(json!({"managed_by": "tidegate", "version": "999.1.0"}));
    let told = program.setup(1, &none).stderr;
    says(
        &told,
        "/_index_template/logs-calico.flow is managed by tidegate 999.1.0, which is newer than this one; rename them",
    );
    says(&program.setup(3, &["--lifecycle", "none", "--diff"]).stdout, "newer index template");
    // Somebody else's, or nobody's: not touched until forced.
    for (meta, whose) in
        [(json!({"managed_by": "somebody"}), "is managed by somebody"), (json!({}), "exists and is not ours")]
    {
        with_meta(meta);
        says(&program.setup(1, &none).stderr, whose);
        says(&program.setup(3, &["--lifecycle", "none", "--diff"]).stdout, "foreign index template");
    }
    assert_eq!(program.template()["priority"], 450, "nothing was written");
    program.setup(0, &["--lifecycle", "none", "--force"]);
    assert_eq!(program.template()["priority"], 500);
}

/// OpenSearch refuses a template that names a missing part, so ours names the users' part once it is there.
#[test]
fn the_users_own_template_is_taken_in_and_never_touched() {
    let Some(server) = Peer::OpenSearch2.server() else { return };
    let _alone = alone();
    let program = Program { server };
    let path = format!("/_component_template/{NAME}@custom");
    let custom = json!({"template": {"settings": {"index": {"number_of_shards": 2, "refresh_interval": "60s"}}}});
    server.ok(Method::PUT, &path, Some(&custom));
    let said = program.setup(0, &["--lifecycle", "none"]).stdout;
    says(&said, "composed_of[2]: missing, should be logs-calico.flow@custom");
    says(&said, "OpenSearch 2.19.4 has no failure store, so `failure_store` has no effect: ");
    let said = program.setup(0, &["--lifecycle", "none", "--failure-store", "false"]).stdout;
    assert!(!said.contains("failure_store"), "{said}");
    let answer = server.ok(Method::POST, &format!("/_index_template/_simulate_index/{NAME}-default"), None);
    let index = &answer["template"]["settings"]["index"];
    assert_eq!((index["number_of_shards"].as_str(), index["refresh_interval"].as_str()), (Some("2"), Some("60s")));
    program.setup(0, &["--lifecycle", "none", "--force"]);
    let kept = server.ok(Method::GET, &path, None);
    assert_eq!(
        kept["component_templates"][0]["component_template"]["template"]["settings"]["index"]["number_of_shards"],
        "2"
    );

    // It cannot go while ours names it.
    let mut template = program.template();
    template["composed_of"].as_array_mut().expect("parts").pop();
    template["data_stream"] = json!({});
    program.put_template(&template);
    server.ok(Method::DELETE, &path, None);
    says(&program.setup(0, &["--lifecycle", "none"]).stderr, "unchanged 3");
}

#[test]
fn a_probe_tells_what_is_wrong() {
    let Some(server) = Peer::OpenSearch2.server() else { return };
    let _alone = alone();
    let program = Program { server };
    program.setup(0, &["--lifecycle", "none"]);
    let verify = |code| run(&["setup", "verify", "--elasticsearch", server.url()], "").expect_code(code).stdout;
    says(&verify(0), "good: every field has its type\n");
    // A template of somebody's that stands above ours.
    let above = json!({"index_patterns": ["logs-calico.flow-tidegate_verify_*"], "priority": 900, "data_stream": {},
        "template": {"mappings": {"dynamic": false, "properties": {"source": {"properties": {"ip": {"type": "long", "ignore_malformed": true}}}}}}});
    server.ok(Method::PUT, "/_index_template/above-tidegate", Some(&above));
    let told = verify(3);
    server.ok(Method::DELETE, "/_index_template/above-tidegate", None);
    says(&told, "source.ip is long, should be ip");
    says(&told, "bad: these fields were ignored, so they cannot be searched: source.ip\n");
    says(&told, " is removed\n");
    // One that refuses the document: what was made for it goes, too.
    let mut refusing = above;
    refusing["template"] = json!({"mappings": {"dynamic": false, "properties": {"source": {"type": "keyword"}}}});
    server.ok(Method::PUT, "/_index_template/above-tidegate", Some(&refusing));
    let told = verify(3);
    server.ok(Method::DELETE, "/_index_template/above-tidegate", None);
    says(&told, "bad: the document was not taken: 400: ");
    says(&told, " is removed\n");
}

fn curl() -> bool {
    let there = std::process::Command::new("curl").arg("--version").output().is_ok();
    if !there {
        went_without("curl", "the exported script needs it");
    }
    there
}

/// For those who apply by other means: files without a server, and a script that curl can send.
#[test]
fn an_export_can_be_sent_by_its_script() {
    let Some(server) = Peer::OpenSearch2.server() else { return };
    if !curl() {
        return;
    }
    let _alone = alone();
    let program = Program { server };
    let dir = temp_dir();
    let dir = dir.path().to_str().expect("UTF-8");
    let arguments =
        ["setup", "--export", dir, "--for", "opensearch@2.19", "--lifecycle", "none", "--only", "templates"];
    let exported = run(&arguments, "").expect_code(0);
    says(&exported.stdout, "/01-component-template-logs-calico.flow@settings.json\n");
    says(&exported.stderr, "OpenSearch 2.19.0 has no failure store");
    program.setup(0, &["--lifecycle", "none", "--codec", "default"]);
    let mut script = std::process::Command::new("sh");
    script.arg(format!("{dir}/apply.sh")).env("URL", server.url()).env_remove("CURL_ARGS");
    let ran = run_command(&mut script, "").expect_code(0);
    assert_eq!(ran.stdout.matches(r#"{"acknowledged":true}"#).count(), 3, "{}", ran.stdout);
    program.setup(0, &["--lifecycle", "none", "--diff"]);
    // It ends at the first refusal.
    std::fs::write(format!("{dir}/01-component-template-logs-calico.flow@settings.json"), "{}").expect("a file");
    let ran = run_command(&mut script, "");
    assert!(ran.code() != Some(0) && !ran.stdout.contains("@mappings"), "{}", ran.stdout);
}

/// The same for Elasticsearch, whose files are reduced first, as its small distribution lacks some types.
#[test]
fn an_export_for_elasticsearch_is_what_setup_installs() {
    let Some(server) = Peer::Elasticsearch8.ready() else { return };
    if !curl() {
        return;
    }
    let _alone = alone();
    let (wire, product) = connect(server, Auth::None).expect("a connection");
    let choice = Choice { lifecycle: Lifecycle::None, ..Choice::default() };
    let objects = reduce(product.kind, setup::catalogue(product, &choice, false).expect("a choice"));
    let dir = temp_dir();
    let files = setup::files(product, &choice, &[setup::Part::Templates]).expect("files");
    setup::export(dir.path(), &files).expect("written");
    for ((name, text), object) in files.iter().zip(&objects) {
        let written: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(written["_meta"]["managed_by"], "tidegate", "{name}");
        std::fs::write(dir.path().join(name), object.marked().to_string()).expect("a file");
    }
    let mut script = std::process::Command::new("sh");
    script.arg(dir.path().join("apply.sh")).env("URL", server.url()).env_remove("CURL_ARGS");
    run_command(&mut script, "").expect_code(0);
    let compared = block(setup::diff(&wire, &objects, &mut Vec::new())).expect("compared");
    assert_eq!(compared, Compared { equal: 3, different: 0, lacking: 0 });
    install(server, &Choice::default(), Options::default()).0.expect("as it was");
}

/// Without index lifecycle management the settings must not name a policy, or the server refuses them.
#[test]
fn an_elasticsearch_without_lifecycle_management_gets_settings_without_it() {
    let Some(server) = Peer::Elasticsearch8.ready() else { return };
    let (wire, product) = connect(server, Auth::None).expect("a connection");
    let mut said = Vec::new();
    let parts = [setup::Part::Lifecycle, setup::Part::Templates];
    let objects = block(setup::chosen(&wire, product, &Choice::default(), &parts, &mut said)).expect("objects");
    let titles: Vec<String> = objects.iter().map(|object| object.path()).collect();
    assert_eq!(titles[0], "/_ilm/policy/tidegate-flows");
    assert_eq!(objects.len(), 4, "{titles:?}");
    assert!(objects[1].body["template"]["settings"]["index"]["lifecycle"].is_null(), "{}", objects[1].body);
    let compared = block(setup::diff(&wire, &objects[..1], &mut said)).expect("compared");
    assert_eq!(compared.lacking, 1);
}
