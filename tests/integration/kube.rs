//! The manifests in `deploy/kubernetes/`: valid for the real APIs, least privilege, and at one with the configuration
//! that they carry, which the built program checks.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{self, Ran};

fn folder() -> PathBuf {
    support::root().join("deploy/kubernetes")
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of one YAML text. A key that stands twice is an error here, as it is for kubectl.
fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("no YAML: {error}"))
}

fn manifests() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .expect("deploy/kubernetes")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8"))
        .collect();
    names.sort();
    names
}

fn of_kind(documents: Vec<Value>, kind: &str) -> Value {
    documents.into_iter().find(|d| d["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn tidegate_of(workload: &Value) -> &Value {
    by_name(&workload["spec"]["template"]["spec"]["containers"], "tidegate")
}

fn by_name<'v>(list: &'v Value, name: &str) -> &'v Value {
    list.as_array().and_then(|l| l.iter().find(|v| v["name"] == name)).unwrap_or(&Value::Null)
}

// --- against the real APIs ---------------------------------------------------------------------------------------

/// `None`, and a loud word, where the validator is not installed.
fn validate(files: &[PathBuf]) -> Option<Ran> {
    let mut validator = Command::new(support::root().join("tests/kube/validate"));
    let ran = support::run_command(validator.args(files), "");
    if ran.code() == Some(3) {
        support::went_without("kubernetes-validate", "tests/kube/get-validator installs it");
        return None;
    }
    Some(ran)
}

#[test]
fn manifests_are_valid_for_the_real_apis() {
    // The kustomization is kustomize's own kind and no API object.
    let files: Vec<PathBuf> =
        manifests().iter().filter(|n| *n != "kustomization.yaml").map(|n| folder().join(n)).collect();
    assert!(files.len() >= 6, "{files:?}");
    if let Some(ran) = validate(&files) {
        ran.expect_code(0);
    }
}

#[test]
fn a_wrong_manifest_is_not_valid() {
    let scratch = support::temp_dir();
    let good = read("daemonset.yaml");
    for (from, to, complaint) in [
        ("maxUnavailable", "maxUnavailble", "maxUnavailble"),
        ("cpu: 25m", "cpu: [25m]", "resources.requests.cpu"),
        ("  selector:\n    matchLabels:\n      app.kubernetes.io/name: tidegate\n", "", "selector"),
    ] {
        let bad = replaced(&good, from, to);
        let file = scratch.path().join("bad.yaml");
        std::fs::write(&file, bad).expect("a scratch file");
        let Some(ran) = validate(&[file]) else { return };
        let ran = ran.expect_code(1);
        assert!(ran.stdout.contains(complaint) || ran.stderr.contains(complaint), "{complaint}: {ran:?}");
    }
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "nothing to doctor: {from:?} is not there");
    text.replacen(from, to, 1)
}

#[test]
fn kustomization_names_what_there_is_to_apply() {
    let kustomization = documents(&read("kustomization.yaml")).remove(0);
    let mut named: Vec<&str> =
        kustomization["resources"].as_array().expect("resources").iter().filter_map(Value::as_str).collect();
    named.sort_unstable();
    let applied: Vec<String> =
        manifests().into_iter().filter(|n| n != "kustomization.yaml" && !n.contains(".example.")).collect();
    assert_eq!(named, applied);
}

// --- least privilege ---------------------------------------------------------------------------------------------

/// Everything in which a workload asks for more than it needs, or is not set up as it must be.
fn faults(workload: &Value) -> Vec<String> {
    let pod = &workload["spec"]["template"]["spec"];
    let container = tidegate_of(workload);
    let setting = |path: &str| -> Value {
        // What the container does not say, the pod says for it.
        let pointer = format!("/securityContext/{path}");
        container.pointer(&pointer).or_else(|| pod.pointer(&pointer)).cloned().unwrap_or(Value::Null)
    };
    let mut faults = Vec::new();
    let mut must = |what: &str, is: &Value, wanted: Value| {
        if *is != wanted {
            faults.push(format!("{what} is {is}, not {wanted}"));
        }
    };
    must("readOnlyRootFilesystem", &setting("readOnlyRootFilesystem"), true.into());
    must("allowPrivilegeEscalation", &setting("allowPrivilegeEscalation"), false.into());
    must("privileged", &setting("privileged"), false.into());
    must("runAsUser", &setting("runAsUser"), 0.into());
    must("seccompProfile", &setting("seccompProfile/type"), "RuntimeDefault".into());
    must("capabilities", &setting("capabilities"), serde_json::json!({"drop": ["ALL"]}));
    must("automountServiceAccountToken", &pod["automountServiceAccountToken"], false.into());
    must("serviceAccountName", &pod["serviceAccountName"], "tidegate".into());
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        must(shared, &pod[shared], Value::Null);
    }
    must("nodeSelector", &pod["nodeSelector"], serde_json::json!({"kubernetes.io/os": "linux"}));
    must("tolerations", &pod["tolerations"], serde_json::json!([{"operator": "Exists"}]));
    must(
        "NODE_NAME",
        &by_name(&container["env"], "NODE_NAME")["valueFrom"]["fieldRef"]["fieldPath"],
        "spec.nodeName".into(),
    );
    must("livenessProbe", &container["livenessProbe"]["httpGet"]["path"], "/livez".into());
    must("readinessProbe", &container["readinessProbe"]["httpGet"]["path"], "/readyz".into());
    must("memory limit", &container["resources"]["limits"]["memory"], "96Mi".into());
    must("requests", &container["resources"]["requests"], serde_json::json!({"cpu": "25m", "memory": "32Mi"}));
    faults.extend(mount_faults(pod, container));
    faults
}

/// The state is the only place that may be written, and of the node nothing but logs and state is seen.
fn mount_faults(pod: &Value, container: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        let at = mount["mountPath"].as_str().unwrap_or_default();
        if (mount["readOnly"] == true) == (at == "/var/lib/tidegate") {
            faults.push(format!("{at} is mounted with readOnly {}", mount["readOnly"]));
        }
        if mount.get("subPath").is_some() {
            faults.push(format!("{at} is a subPath, which never changes"));
        }
        let volume = by_name(&pod["volumes"], mount["name"].as_str().unwrap_or_default());
        if let Some(host) = volume.pointer("/hostPath/path").and_then(Value::as_str)
            && (host != at || !["/var/lib/tidegate", "/var/log/calico/flowlogs"].contains(&host))
        {
            faults.push(format!("the node's {host} is mounted at {at}"));
        }
    }
    faults
}

const WORKLOADS: [&str; 2] = ["daemonset.yaml", "sidecar-fluentd.example.yaml"];

#[test]
fn workloads_ask_for_no_more_than_they_need() {
    for name in WORKLOADS {
        assert_eq!(faults(&of_kind(documents(&read(name)), "DaemonSet")), [""; 0], "{name}");
    }
    let account = of_kind(documents(&read("serviceaccount.yaml")), "ServiceAccount");
    assert_eq!(account["automountServiceAccountToken"], false);
    let all: Vec<Value> = manifests().iter().flat_map(|name| documents(&read(name))).collect();
    let rights = all.iter().filter(|d| d["kind"].as_str().is_some_and(|kind| kind.contains("Role"))).count();
    assert_eq!(rights, 0, "no rights in the cluster");
}

#[test]
fn a_doctored_workload_is_found_out() {
    let good = read("daemonset.yaml");
    for (from, to, fault) in [
        ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "readOnlyRootFilesystem is false"),
        ("allowPrivilegeEscalation: false\n", "procMount: Default\n", "allowPrivilegeEscalation is null"),
        ("privileged: false", "privileged: true", "privileged is true"),
        ("drop: [ALL]", "drop: [ALL]\n            add: [SYS_ADMIN]", "capabilities is"),
        ("runAsUser: 0", "runAsUser: 1000", "runAsUser is 1000"),
        ("type: RuntimeDefault", "type: Unconfined", "seccompProfile is"),
        ("automountServiceAccountToken: false", "hostNetwork: true", "hostNetwork is true"),
        (
            "mountPath: /var/log/calico/flowlogs\n          readOnly: true",
            "mountPath: /var/log/calico/flowlogs",
            "/var/log/calico/flowlogs is mounted with readOnly null",
        ),
        ("path: /var/log/calico/flowlogs", "path: /", "the node's / is mounted"),
        ("memory: 96Mi", "memory: 960Mi", "memory limit is"),
        ("path: /livez", "path: /readyz", "livenessProbe is"),
        ("fieldPath: spec.nodeName", "fieldPath: metadata.name", "NODE_NAME is"),
    ] {
        let found = faults(&of_kind(documents(&replaced(&good, from, to)), "DaemonSet"));
        assert!(found.iter().any(|f| f.starts_with(fault)), "{from:?} → {to:?}: {found:?}");
    }
}

// --- the configuration in the ConfigMap --------------------------------------------------------------------------

struct Carried {
    config: String,
    zones: String,
}

fn carried() -> Carried {
    let map = of_kind(documents(&read("configmap.yaml")), "ConfigMap");
    let text = |key: &str| map["data"][key].as_str().unwrap_or_else(|| panic!("no {key}")).to_owned();
    Carried { config: text("tidegate.yaml"), zones: text("zones.yaml") }
}

#[test]
fn pod_and_configuration_agree() {
    let config = documents(&carried().config).remove(0);
    let port = config["listen"].as_str().and_then(|l| l.rsplit(':').next()).expect("a port to listen on").to_owned();
    let deadline = config["shutdown"]["deadline"].as_str().expect("a deadline");
    let deadline: u64 = deadline.strip_suffix('s').and_then(|s| s.parse().ok()).expect("whole seconds");
    let mut wanted = vec![config["zones"].clone(), config["state_dir"].clone()];
    collect_files(&config["sinks"], &mut wanted);
    wanted.push(config["sources"][0]["path"].clone());
    assert!(wanted.len() >= 8, "{wanted:?}");
    for name in WORKLOADS {
        let workload = of_kind(documents(&read(name)), "DaemonSet");
        let pod = &workload["spec"]["template"];
        let container = tidegate_of(&workload);
        assert_eq!(container["ports"][0]["containerPort"].to_string(), port, "{name}");
        assert_eq!(pod["metadata"]["annotations"]["prometheus.io/port"], *port, "{name}");
        assert!(pod["spec"]["terminationGracePeriodSeconds"].as_u64() > Some(deadline), "{name}");
        let mounts: Vec<&str> = container["volumeMounts"]
            .as_array()
            .expect("mounts")
            .iter()
            .filter_map(|m| m["mountPath"].as_str())
            .collect();
        for path in &wanted {
            let path = Path::new(path.as_str().expect("a path"));
            assert!(mounts.iter().any(|mount| path.starts_with(mount)), "{name}: {} is not mounted", path.display());
        }
    }
}

/// Every file that the sinks name.
fn collect_files(value: &Value, into: &mut Vec<Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key == "file" || key.ends_with("_file") {
                    into.push(value.clone());
                }
                collect_files(value, into);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect_files(value, into)),
        _ => {}
    }
}

/// The carried configuration with its mounts laid out in a scratch folder: certificates are real ones, made here.
fn check(carried: &Carried) -> Ran {
    let scratch = support::temp_dir();
    let at = |name: &str| scratch.path().join(name);
    let place = |name: &str, text: &str| std::fs::write(at(name), text).expect("a scratch file");
    for folder in ["elasticsearch", "siem", "state", "flowlogs"] {
        std::fs::create_dir(at(folder)).expect("a scratch folder");
    }
    let made = rcgen::generate_simple_self_signed(["tidegate.test".to_owned()]).expect("a certificate");
    for (name, text) in [
        ("elasticsearch/api-key", "cGxhY2U6aG9sZGVy"),
        ("elasticsearch/ca.crt", &made.cert.pem()),
        ("siem/ca.crt", &made.cert.pem()),
        ("siem/tls.crt", &made.cert.pem()),
        ("siem/tls.key", &made.signing_key.serialize_pem()),
        ("zones.yaml", &carried.zones),
    ] {
        place(name, text);
    }
    let here = scratch.path().to_str().expect("a path in UTF-8");
    let config = carried
        .config
        .replace("/etc/tidegate", here)
        .replace("/run/secrets/tidegate", here)
        .replace("/var/log/calico/flowlogs", &format!("{here}/flowlogs"))
        .replace("/var/lib/tidegate", &format!("{here}/state"));
    place("tidegate.yaml", &config);
    let file = at("tidegate.yaml");
    support::run(&["check", "-c", file.to_str().expect("a path in UTF-8")], "")
}

#[test]
fn carried_configuration_passes_the_programs_own_check() {
    let mut carried = carried();
    check(&carried).expect_code(0);
    carried.config = replaced(&carried.config, "hosts:", "hsots:");
    let ran = check(&carried).expect_code(3);
    assert!(ran.stdout.contains("hsots") || ran.stderr.contains("hsots"), "{ran:?}");
}

// --- the image ---------------------------------------------------------------------------------------------------

#[test]
fn the_image_is_built_from_all_that_the_program_includes() {
    let dockerfile = std::fs::read_to_string(support::root().join("deploy/Dockerfile")).expect("deploy/Dockerfile");
    let copied: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|rest| !rest.starts_with("--from"))
        .flat_map(|rest| rest.split_whitespace().rev().skip(1))
        .collect();
    let ignore = std::fs::read_to_string(support::root().join(".dockerignore")).expect(".dockerignore");
    for path in &copied {
        assert!(ignore.lines().any(|line| line.strip_prefix('!') == Some(path)), ".dockerignore leaves out {path}");
    }
    let included = included_files(&support::root().join("src"));
    assert!(!included.is_empty());
    for path in included {
        assert!(copied.iter().any(|from| path.starts_with(from)), "deploy/Dockerfile does not copy {}", path.display());
    }
}

/// What `include_str!` and `include_bytes!` name below a folder, relative to the repository. Not what tests include: by the
/// house's habit they stand last in their file, or in files named for it.
fn included_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8");
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        if entry.is_dir() {
            found.extend(included_files(&entry));
            continue;
        }
        let text = std::fs::read_to_string(&entry).expect("a source file");
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (at, _) in text.match_indices("include_str!(\"").chain(text.match_indices("include_bytes!(\"")) {
            let named = text[at..].split('"').nth(1).expect("a quoted path");
            let whole =
                folder.join(named).canonicalize().unwrap_or_else(|e| panic!("{}: {named}: {e}", entry.display()));
            found.push(whole.strip_prefix(support::root()).expect("within the repository").to_owned());
        }
    }
    found
}
