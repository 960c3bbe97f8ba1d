//! Installing, again, comparing, upgrading, refusing; and the program as a user runs it.

use reqwest::Method;
use serde_json::{Value, json};
use tidegate::net::auth::Auth;
use tidegate::setup::{self, Choice, Codec, Compared, IndexMode, Lifecycle, NAME, Options};

use super::{Peer, alone, beside_others, block, connect, convert, corpus::all_taken, install, line, stream};
use crate::support::reduce::reduce;
use crate::support::servers::Server;
use crate::support::{Ran, run, run_command, temp_dir, went_without};

super::on_all!(a_probe_finds_all_good);

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

/// Every choice that this Elasticsearch can follow: installed, found equal, and in force in a stream made with it.
#[test]
fn every_choice_is_installed_and_found_equal() {
    let Some(server) = Peer::Elasticsearch8.ready() else { return };
    let _alone = alone();
    let choice = Choice::default;
    for (name, choice, setting, expected) in [
        ("logsdb", Choice { index_mode: IndexMode::Logsdb, ..choice() }, "mode", Some("logsdb")),
        ("plain", Choice { codec: Codec::Default, ..choice() }, "codec", Some("default")),
        ("dsl", Choice { lifecycle: Lifecycle::DataStream, ..choice() }, "codec", Some("best_compression")),
        ("nofs", Choice { failure_store: false, ..choice() }, "mode", Some("standard")),
        ("default", choice(), "mode", Some("standard")),
    ] {
        let (summary, said) = install(server, &choice, Options::default());
        assert_eq!(summary.expect(name).unchanged, 2, "only the settings change: {name}: {said}");
        let (summary, said) = install(server, &choice, Options::default());
        assert_eq!(summary.expect(name).unchanged, 3, "{name}: {said}");
        let stream = stream(name);
        all_taken(&server.bulk(&stream, &convert(&[line(&json!({}))])));
        let settings = server.ok(Method::GET, &format!("/{stream}/_settings"), None);
        let index =
            settings.as_object().and_then(|all| all.values().next()).expect("an index")["settings"]["index"].clone();
        assert_eq!(index[setting].as_str(), expected, "{name}: {index}");
    }
}

/// The built-in templates are not in the small distribution, so one of the same name, pattern and priority stands in.
#[test]
fn our_template_wins_over_the_built_in_one() {
    let Some(server) = Peer::Elasticsearch8.ready() else { return };
    let _alone = alone();
    let built_in = json!({"index_patterns": ["logs-*-*"], "priority": 100, "data_stream": {}, "template": {"mappings": {
        "dynamic": true, "properties": {"source": {"properties": {"ip": {"type": "keyword"}}}, "theirs": {"type": "keyword"}}}}});
    server.ok(Method::PUT, "/_index_template/logs", Some(&built_in));
    let answer = server.ok(Method::POST, &format!("/_index_template/_simulate_index/{NAME}-default"), None);
    server.ok(Method::DELETE, "/_index_template/logs", None);
    let mappings = &answer["template"]["mappings"];
    assert_eq!(mappings["properties"]["source"]["properties"]["ip"]["type"], "ip", "{answer}");
    assert_eq!(mappings["dynamic"].to_string().trim_matches('"'), "false");
    assert!(mappings["properties"]["theirs"].is_null());
    assert_eq!(answer["overlapping"][0]["name"], "logs", "{answer}");
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
    says(
        &program.setup(0, &["--lifecycle", "none"]).stdout,
        "composed_of[2]: missing, should be logs-calico.flow@custom",
    );
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
    says(&run(&arguments, "").expect_code(0).stdout, "/01-component-template-logs-calico.flow@settings.json\n");
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
