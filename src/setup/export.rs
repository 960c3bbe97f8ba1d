//! Everything as files, for those who review it first or apply it by other means. No server is asked.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::objects::{Object, Part, What, api_key};
use super::shipped::{catalogue, roles};
use super::{Choice, SetupError, boards};
use crate::net::product::{Kind, Product};

/// Sends them, by curl.
const SCRIPT: &str = "apply.sh";
/// The same as the consoles of Kibana and OpenSearch Dashboards take it.
const REQUESTS: &str = "requests.txt";

/// Names and texts: one file a body, numbered in the order in which they must be sent, and the two that send them.
pub fn files(product: Product, choice: &Choice, parts: &[Part]) -> Result<Vec<(String, String)>, SetupError> {
    let mut objects = catalogue(product, choice, false).map_err(SetupError::Choice)?;
    objects.extend(roles(product.kind));
    objects.retain(|object| parts.contains(&object.what.part()));
    let mut files = Vec::new();
    let mut requests = Vec::new();
    let mut script = head(product);
    for part in Part::ALL {
        let of_part: Vec<&Object> = objects.iter().filter(|object| object.what.part() == part).collect();
        if of_part.is_empty() {
            continue;
        }
        let _ = writeln!(script, "\nif wanted {}; then", part.word());
        for object in of_part {
            let name = numbered(files.len(), object.title(), object);
            for (method, path, body) in object.requests(false, "") {
                let file = if body.is_some() { format!(" {name}") } else { String::new() };
                let _ = writeln!(script, "  send {method} '{path}'{file}");
                requests.push((method, path, body));
            }
            files.push((name, text(&object.marked())));
        }
        script.push_str("fi\n");
    }
    keys(&objects, &mut files, &mut script);
    let mut console = Vec::new();
    super::apply::show(&requests, &mut console)?;
    files.push((REQUESTS.to_owned(), String::from_utf8_lossy(&console).into_owned()));
    files.push((SCRIPT.to_owned(), script));
    if parts.contains(&Part::Dashboards) {
        files.extend(boards::files().into_iter().map(|(path, text)| (format!("dashboards/{path}"), text)));
    }
    Ok(files)
}

fn numbered(before: usize, title: &str, object: &Object) -> String {
    format!("{:02}-{}-{}.json", before + 1, title.replace(' ', "-"), object.name)
}

fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

fn head(product: Product) -> String {
    format!(
        r#"#!/bin/sh
# What Tidegate {version} installs in {product}. Sent in this order.
#
#   URL=https://HOST:9200 CURL_ARGS="--cacert ca.crt --user elastic" ./{SCRIPT} [PART…]
#
# Without a part, all but roles: those want an administrator of security. It ends at the first request that is refused.
# Sending it again does no harm (a transform that is there already is refused). Unlike `tidegate setup` it asks nobody
# before it overwrites.
set -eu
cd "$(dirname "$0")"
: "${{URL:?write URL=https://HOST:9200 before the command}}"
parts=${{*:-{usual}}}

wanted() {{
  case " $parts " in *" $1 "*) ;; *) return 1 ;; esac
}}
send() {{ # METHOD PATH [FILE]
  method=$1 path=$2
  shift 2
  [ $# = 0 ] || set -- --header 'Content-Type: application/json' --data-binary "@$1"
  echo "$method $path"
  # CURL_ARGS is several words.
  curl --silent --show-error --fail-with-body ${{CURL_ARGS-}} --request "$method" "$@" "${{URL%/}}$path"
  echo
}}
"#,
        version = env!("CARGO_PKG_VERSION"),
        usual = Part::USUAL.map(Part::word).join(" "),
    )
}

/// The answer to such a request is a secret, so the script sends none.
fn keys(objects: &[Object], files: &mut Vec<(String, String)>, script: &mut String) {
    let roles: Vec<&Object> = objects.iter().filter(|object| object.what == What::ElasticRole).collect();
    if roles.is_empty() {
        return;
    }
    script
        .push_str("\n# API keys with a role's rights. The answer's \"encoded\" is the key, so each is sent by hand:\n");
    for role in roles {
        let name = numbered(files.len(), "api-key", role);
        let _ = writeln!(
            script,
            "#   curl $CURL_ARGS --request POST --header 'Content-Type: application/json' --data-binary @{name} $URL/_security/api_key"
        );
        files.push((name, text(&api_key(role))));
    }
}

/// Writes the files into a folder, which is made if it is missing. Numbered files in it that would not be overwritten,
/// such as those of an earlier choice, are refused: who applies the folder would apply them too.
pub fn export(dir: &Path, files: &[(String, String)]) -> Result<(), SetupError> {
    std::fs::create_dir_all(dir)?;
    let mut stale = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_json(&name) && files.iter().all(|(ours, _)| *ours != name) {
            stale.push(name);
        }
    }
    if !stale.is_empty() {
        stale.sort_unstable();
        return Err(SetupError::NotEmpty { dir: dir.display().to_string(), files: stale.join(", ") });
    }
    for (name, text) in files {
        let path = dir.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text)?;
        if name == SCRIPT {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

fn is_json(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "json")
}

/// `elasticsearch`, `opensearch`, or with a version: `elasticsearch@8.19`, `opensearch@2.19.1`.
pub fn product(text: &str) -> Result<Product, String> {
    let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
    let newest = match name {
        "elasticsearch" => super::NEWEST[Kind::Elasticsearch as usize],
        "opensearch" => super::NEWEST[Kind::OpenSearch as usize],
        _ => return Err("write elasticsearch or opensearch, and @VERSION if it is not the newest".to_owned()),
    };
    let Some(version) = version else { return Ok(newest) };
    let numbers: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[major]) => Ok(Product { version: (major, 0, 0), ..newest }),
        Some(&[major, minor]) => Ok(Product { version: (major, minor, 0), ..newest }),
        Some(&[major, minor, patch]) => Ok(Product { version: (major, minor, patch), ..newest }),
        _ => Err(format!("{version:?} is no version; write one such as 9.2 or 2.19.1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_their_text() {
        for (text, expected) in [
            ("elasticsearch", Ok("Elasticsearch 9.2.8")),
            ("opensearch@2.19", Ok("OpenSearch 2.19.0")),
            ("elasticsearch@8", Ok("Elasticsearch 8.0.0")),
            ("elasticsearch@8.19.1", Ok("Elasticsearch 8.19.1")),
            ("elasticsearch@new", Err("\"new\" is no version; write one such as 9.2 or 2.19.1")),
            ("solr", Err("write elasticsearch or opensearch, and @VERSION if it is not the newest")),
        ] {
            let found = product(text).map(|product| product.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }

    #[test]
    fn files_are_numbered_in_the_order_of_their_use() {
        let choice = Choice { history: Some(std::time::Duration::from_secs(86_400)), ..Choice::default() };
        let names = |product, parts: &[Part]| -> Vec<String> {
            files(product, &choice, parts).expect("files").into_iter().map(|(name, _)| name).collect()
        };
        let elasticsearch = [
            "01-lifecycle-policy-tidegate-flows.json",
            "02-lifecycle-policy-tidegate-history.json",
            "03-ingest-pipeline-tidegate-history.json",
            "04-component-template-logs-calico.flow@settings.json",
            "05-component-template-logs-calico.flow@mappings.json",
            "06-index-template-logs-calico.flow.json",
            "07-index-template-tidegate-history.json",
            "08-transform-tidegate-history.json",
            "09-role-tidegate-read.json",
            "10-role-tidegate-setup.json",
            "11-role-tidegate-ship.json",
            "12-role-tidegate-ship-lookup.json",
            "13-api-key-tidegate-read.json",
            "14-api-key-tidegate-setup.json",
            "15-api-key-tidegate-ship.json",
            "16-api-key-tidegate-ship-lookup.json",
            "requests.txt",
            "apply.sh",
            "dashboards/kibana/tidegate-8.ndjson",
            "dashboards/kibana/tidegate-9.ndjson",
            "dashboards/kibana/detection-rules.ndjson",
            "dashboards/opensearch-dashboards/tidegate.ndjson",
            "dashboards/grafana/tidegate-agent.json",
            "dashboards/grafana/tidegate-traffic.json",
        ];
        assert_eq!(names(super::super::NEWEST[0], &Part::ALL), elasticsearch);
        let open = ["01-index-state-policy-tidegate-flows.json", "requests.txt", "apply.sh"];
        assert_eq!(names(super::super::NEWEST[1], &[Part::Lifecycle]), open);
    }

    #[test]
    fn a_folder_with_another_export_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = |name: &str| vec![(name.to_owned(), String::new()), (SCRIPT.to_owned(), String::new())];
        export(dir.path(), &files("01-a.json")).expect("a new folder");
        export(dir.path(), &files("01-a.json")).expect("the same again");
        let error = export(dir.path(), &files("01-b.json")).expect_err("01-a.json would stay");
        assert!(error.to_string().contains("holds 01-a.json, which this does not write"), "{error}");
    }
}
