//! Real Elasticsearch and OpenSearch servers, each started at most once for all tests, when the first asks for it.
//!
//! They end with this process, however it ends: the starting script stops its server when our end of its standard input
//! closes. `TEST_ELASTICSEARCH_URL` and `TEST_OPENSEARCH_URL` name plain servers to use instead.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use tidegate::net::auth::Auth;
use tidegate::net::http::{Http, HttpConfig};
use tidegate::net::product::Kind;
use tidegate::net::tls::TlsConfig;

use super::{root, went_without};

/// A running server.
#[derive(Debug)]
pub struct Server {
    pub told: Told,
    /// Holds the pipe whose end is the server's.
    script: Child,
}

/// What the starting script says about it.
#[derive(Debug, Deserialize)]
pub struct Told {
    pub url: String,
    pub pid: Option<i32>,
    /// Its own authority, and one that signed nothing. Secure servers only.
    pub ca: Option<PathBuf>,
    pub wrong_ca: Option<PathBuf>,
    /// Passwords by user: `admin`, `shipper` (may create), `reader`. Secure servers only.
    #[serde(default)]
    pub users: HashMap<String, String>,
}

type Slot = OnceLock<Result<Server, String>>;

/// Plain HTTP, no security. `None` after a loud word when it cannot be started.
pub fn elasticsearch() -> Option<&'static Server> {
    static SLOT: Slot = OnceLock::new();
    get(&SLOT, "Elasticsearch", "start-elasticsearch", &[])
}

pub fn opensearch() -> Option<&'static Server> {
    static SLOT: Slot = OnceLock::new();
    get(&SLOT, "OpenSearch", "start-opensearch", &[])
}

/// A server of the test's own, which may come to harm. `None` after a loud word when it cannot be started.
pub fn own(kind: Kind, args: &[&str]) -> Option<Server> {
    let (name, script) = match kind {
        Kind::Elasticsearch => ("Elasticsearch", "start-elasticsearch"),
        Kind::OpenSearch => ("OpenSearch", "start-opensearch"),
    };
    start(script, args).inspect_err(|why| went_without(name, why)).ok()
}

/// The major before, plain.
pub fn elasticsearch_8() -> Option<&'static Server> {
    static SLOT: Slot = OnceLock::new();
    get(&SLOT, "Elasticsearch 8", "start-elasticsearch", &["--version", "8.19.8"])
}

pub fn opensearch_2() -> Option<&'static Server> {
    static SLOT: Slot = OnceLock::new();
    get(&SLOT, "OpenSearch 2", "start-opensearch", &["--version", "2.19.4"])
}

/// HTTPS, users and API keys, and bodies of at most 2 MB.
pub fn elasticsearch_secure() -> Option<&'static Server> {
    static SLOT: Slot = OnceLock::new();
    get(&SLOT, "Elasticsearch", "start-elasticsearch", SECURE)
}

pub fn opensearch_secure() -> Option<&'static Server> {
    static SLOT: Slot = OnceLock::new();
    get(&SLOT, "OpenSearch", "start-opensearch", SECURE_OPEN)
}

const SECURE: &[&str] = &["--tls", "-E", "http.max_content_length=2mb"];
/// There, too, the administrator may make users and roles.
const SECURE_OPEN: &[&str] =
    &["--tls", "-E", "http.max_content_length=2mb", "-E", "plugins.security.restapi.roles_enabled=all_access"];

fn get(slot: &'static Slot, name: &str, script: &str, args: &[&str]) -> Option<&'static Server> {
    match slot.get_or_init(|| start(script, args)) {
        Ok(server) => Some(server),
        Err(why) => {
            went_without(name, why);
            None
        }
    }
}

fn start(script: &str, args: &[&str]) -> Result<Server, String> {
    let mut command = Command::new(root().join("tests/servers").join(script));
    // The machine is busy with the other tests: slow is not broken.
    command.args(["--foreground", "--timeout", "300"]).args(args);
    if !args.is_empty() {
        command.env_remove("TEST_ELASTICSEARCH_URL").env_remove("TEST_OPENSEARCH_URL");
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{script}: {error}"))?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line).map_err(|error| error.to_string())?;
    }
    match serde_json::from_str(&line) {
        Ok(told) => Ok(Server { told, script: child }),
        Err(_) => {
            let output = child.wait_with_output().map_err(|error| error.to_string())?;
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}

impl Server {
    pub fn url(&self) -> &str {
        &self.told.url
    }

    /// Ends it: at once (`KILL`), as a crash of its node would, or in good order (`TERM`).
    pub fn end(&self, signal: rustix::process::Signal) {
        let pid = self.told.pid.and_then(rustix::process::Pid::from_raw).expect("a server that we started");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits until nothing is left of a server that was ended, so that another can start on its data and its port.
    pub fn gone(mut self) {
        self.script.wait().expect("our own script");
    }

    /// What trusts this server.
    pub fn tls(&self) -> TlsConfig {
        TlsConfig { ca_file: self.told.ca.clone(), ..TlsConfig::default() }
    }

    pub fn password(&self, user: &str) -> &str {
        &self.told.users[user]
    }

    /// Asks as its administrator; status and JSON answer (`Null` when it is none).
    ///
    /// # Panics
    /// When the server does not answer.
    #[track_caller]
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let admin = self.told.users.get("admin").map(|password| ("admin", password.as_str()));
        self.call_as(admin, method, path, body.map(|body| ("application/json", body.to_string())))
    }

    /// Asks as a user with a password, or with an API key where the name is `ApiKey`, with a body of any type.
    #[track_caller]
    pub fn call_as(
        &self,
        who: Option<(&str, &str)>,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> (u16, Value) {
        let tls = self.told.ca.is_some().then(|| self.tls());
        let timeout = Duration::from_secs(60);
        let http = Http::new(HttpConfig { tls, connect_timeout: timeout, timeout }).expect("a client");
        let mut request = http.client().request(method, format!("{}{path}", self.url()));
        request = match who {
            Some(("ApiKey", key)) => request.header("authorization", format!("ApiKey {key}")),
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        };
        if let Some((kind, body)) = body {
            request = request.header("content-type", kind).body(body);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let response = request.send().await.expect("the server answers");
            let status = response.status().as_u16();
            let bytes = response.bytes().await.expect("a whole answer");
            (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
        })
    }

    /// As [`Server::call`], and it must go well.
    #[track_caller]
    pub fn ok(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let mut tries = 0;
        loop {
            let (status, answer) = self.call(method.clone(), path, body);
            tries += 1;
            // OpenSearch keeps all roles in one document, all users in another: who writes beside another test meets it.
            if status == 409 && answer["status"] == "CONFLICT" && tries < 20 {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            assert!(status < 300, "{method} {path}: {status} {answer}");
            return answer;
        }
    }

    /// Creates documents in a stream and makes them searchable; the items of the answer.
    #[track_caller]
    pub fn bulk(&self, stream: &str, documents: &[String]) -> Vec<Value> {
        let body: String = documents.iter().map(|document| format!("{{\"create\":{{}}}}\n{document}\n")).collect();
        let admin = self.told.users.get("admin").map(|password| ("admin", password.as_str()));
        let path = format!("/{stream}/_bulk?refresh=true");
        let (status, answer) = self.call_as(admin, Method::POST, &path, Some(("application/x-ndjson", body)));
        assert_eq!(status, 200, "{answer}");
        answer["items"].as_array().expect("items").iter().map(|item| item["create"].clone()).collect()
    }

    /// Number of documents in a stream or index, after a refresh; 0 where there is none.
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        let (status, _) = self.call(Method::POST, &format!("/{name}/_refresh"), None);
        if status == 404 {
            return 0;
        }
        self.ok(Method::GET, &format!("/{name}/_count"), None)["count"].as_u64().expect("a count")
    }

    /// The backing indices of a data stream, oldest first.
    #[track_caller]
    pub fn backing(&self, stream: &str) -> Vec<String> {
        let answer = self.ok(Method::GET, &format!("/_resolve/index/{stream}"), None);
        let names = &answer["data_streams"][0]["backing_indices"];
        let name = |name: &Value| name.as_str().expect("a name").to_owned();
        // One of them may come as a bare string.
        names.as_array().map_or_else(|| vec![name(names)], |names| names.iter().map(name).collect())
    }

    /// An `Auth` with a user's password in a file of `folder`.
    pub fn basic(&self, folder: &std::path::Path, user: &str) -> Auth {
        let file = folder.join(format!("{user}-password"));
        std::fs::write(&file, self.password(user)).expect("a secret file");
        Auth::Basic { username: user.to_owned(), password: tidegate::unit::SecretRef::File(file) }
    }
}
