//! The import over HTTP, against a small stand-in that answers as Kibana's API is documented to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tidegate::net::auth::Auth;
use tidegate::net::tls::TlsConfig;
use tidegate::setup::boards::install::{Config, InstallError, Options, Summary, run};

/// Request line, headers in lower case, body.
pub type Request = (String, String, String);

/// Answers each request by `answer`, and keeps it.
pub fn stand_in(answer: impl Fn(&Request) -> (u16, String) + Send + 'static) -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let url = format!("http://{}/s/soc", listener.local_addr().expect("an address"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let request = read(&stream);
            let (status, body) = answer(&request);
            kept.lock().expect("no panic").push(request);
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = (&stream).write_all((head + &body).as_bytes());
        }
    });
    (url, seen)
}

fn read(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let headers = lines[1..].join("\n").to_lowercase();
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |n| n.parse().expect("a number"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    (lines[0].clone(), headers, String::from_utf8(body).expect("UTF-8"))
}

fn install(url: &str, options: Options) -> (Result<Summary, InstallError>, String) {
    let config = Config { host: url.to_owned(), auth: Auth::None, tls: TlsConfig::default() };
    let mut said = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let summary = runtime.block_on(run(&config, options, &mut said));
    (summary, String::from_utf8(said).expect("UTF-8"))
}

pub fn status(version: &str) -> (u16, String) {
    (200, format!(r#"{{"name":"x","version":{{"number":"{version}"}}}}"#))
}

#[test]
fn boards_and_rules_arrive() {
    let (url, seen) = stand_in(|(line, _, body)| {
        let lines = body.lines().filter(|line| line.starts_with('{')).count();
        match line {
            line if line.contains("/api/status") => status("9.2.1"),
            line if line.contains("/rules/") => {
                (200, format!(r#"{{"success":true,"success_count":{lines},"errors":[]}}"#))
            }
            _ => (200, format!(r#"{{"success":true,"successCount":{lines}}}"#)),
        }
    });
    let (summary, said) = install(&url, Options { rules: true, ..Options::default() });
    assert_eq!(summary.expect("it is taken"), Summary { objects: 15, rules: 5 }, "{said}");
    assert!(said.contains("is Kibana 9.2.1"), "{said}");
    let seen = seen.lock().expect("no panic");
    let lines: Vec<&str> = seen.iter().map(|(line, ..)| line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /s/soc/api/status HTTP/1.1",
            "POST /s/soc/api/saved_objects/_import?overwrite=true HTTP/1.1",
            "POST /s/soc/api/detection_engine/rules/_import?overwrite=true HTTP/1.1",
        ]
    );
    for (_, headers, body) in &seen[1..] {
        assert!(headers.contains("kbn-xsrf: tidegate") && headers.contains("osd-xsrf: tidegate"), "{headers}");
        let boundary = headers.split("boundary=").nth(1).and_then(|rest| rest.lines().next()).expect("a boundary");
        assert!(body.starts_with(&format!("--{boundary}\r\n")), "{boundary}");
        assert!(body.ends_with(&format!("\r\n--{boundary}--\r\n")));
        assert!(body.contains("form-data; name=\"file\"; filename=\""));
    }
}

#[test]
fn what_is_refused_is_told() {
    for (version, import, expected) in [
        ("7.17.0", (200, String::new()), "is version 7.17.0; boards are built for Kibana 8.8"),
        ("9.2.1", (401, String::new()), "does not let us in (401)"),
        ("9.2.1", (403, String::new()), "grant all on Saved Objects Management"),
        (
            "2.19.0",
            (200, r#"{"success":false,"errors":[{"id":"a","error":{"type":"conflict"}}]}"#.to_owned()),
            "did not take everything: a: conflict",
        ),
        (
            "9.2.1",
            (400, r#"{"message":"Document \"x\" belongs to a more recent version"}"#.to_owned()),
            "belongs to a more recent version",
        ),
    ] {
        let (url, _) =
            stand_in(move |(line, ..)| if line.contains("/api/status") { status(version) } else { import.clone() });
        let (summary, _) = install(&url, Options::default());
        let error = summary.expect_err("it is refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_dry_run_only_looks() {
    let (url, seen) = stand_in(|_| status("3.4.0"));
    let (summary, said) = install(&url, Options { dry_run: true, rules: true });
    assert_eq!(summary.expect("nothing is sent"), Summary::default());
    assert!(said.contains("would POST /api/saved_objects/_import?overwrite=true (tidegate.ndjson, "), "{said}");
    assert_eq!(seen.lock().expect("no panic").len(), 1);
}
