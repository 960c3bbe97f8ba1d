//! What stands between us and a server: TLS that asks who we are, a proxy, and a long wait.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use serde_json::json;
use tidegate::net::auth::Auth;
use tidegate::net::tls::TlsConfig;
use tidegate::unit::SecretRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::lane::Lane;
use crate::support::fake_bulk::{Act, FakeBulk};
use crate::support::{Running, run_command, temp_dir, tidegate, wait_until};

/// An authority with a server's and a client's certificate, as files.
struct Pki {
    folder: tempfile::TempDir,
    server: rustls::ServerConfig,
}

impl Pki {
    fn new() -> Self {
        let folder = temp_dir();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
            (certificate, key)
        };
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("ca.pem", &ca.pem());
        let (certificate, key) = issue("node-1");
        put("client.pem", &certificate.pem());
        put("client.key", &key.serialize_pem());

        let (certificate, key) = issue("localhost");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        Self { folder, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Accepts on its own thread, and hands each connection to `serve`.
fn accept<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>> + 'static,
{
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((client, _)) = listener.accept().await {
                // A side that goes away is no concern of the relay's.
                let serving = serve(client);
                tokio::task::spawn_local(async { drop(serving.await) });
            }
        });
    });
    address
}

/// TLS that asks for a client certificate, before a plain fake.
fn tls_before(fake: &FakeBulk, pki: &Pki) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(pki.server.clone()));
    let inside = fake.url.strip_prefix("http://").expect("a plain fake").to_owned();
    accept(move |client| {
        let (acceptor, inside) = (acceptor.clone(), inside.clone());
        async move {
            let mut client = acceptor.accept(client).await?;
            let mut server = TcpStream::connect(inside).await?;
            copy_bidirectional(&mut client, &mut server).await.map(drop)
        }
    })
}

#[test]
fn a_client_certificate_goes_together_with_an_api_key() {
    let (fake, pki) = (FakeBulk::start(|_| Act::Take), Pki::new());
    let url = format!("https://localhost:{}", tls_before(&fake, &pki).port());
    std::fs::write(pki.path("key"), "encoded-key\n").unwrap();
    let lane = |certificate: bool| {
        Lane::new(&url, |config, _| {
            config.auth = Auth::ApiKey(SecretRef::File(pki.path("key")));
            config.tls = TlsConfig { ca_file: Some(pki.path("ca.pem")), ..TlsConfig::default() };
            if certificate {
                config.tls.certificate_file = Some(pki.path("client.pem"));
                config.tls.key_file = Some(pki.path("client.key"));
            }
        })
    };
    let mut with = lane(true);
    with.send(0..3);
    with.expect(3, 0, 0);
    assert_eq!(fake.seen()[0].headers["authorization"], "ApiKey encoded-key");

    let mut without = lane(false);
    without.send(3..5);
    without.expect_hold("unreachable");
    without.expect_nothing();
    assert_eq!(fake.taken().len(), 3);
}

/// Tunnels wherever it is asked to, and remembers where.
fn connect_proxy(asked: Arc<Mutex<Vec<String>>>) -> SocketAddr {
    accept(move |mut client| {
        let asked = Arc::clone(&asked);
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await?);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            asked.lock().expect("no panic").push(target.to_owned());
            let mut server = TcpStream::connect(target.replace("localhost", "127.0.0.1")).await?;
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            copy_bidirectional(&mut client, &mut server).await.map(drop)
        }
    })
}

/// The built program, one line of a log, and what the environment says of proxies.
fn run_once(pki: &Pki, url: &str, environment: &[(&str, String)]) {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let folder = pki.path(&format!("run-{}", RUNS.fetch_add(1, SeqCst)));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("flows.log"), "{\"end_time\":1700000000,\"action\":\"deny\"}\n").unwrap();
    let file = config(pki, &folder, url);
    let mut command = tidegate(&["run", "-c", file.to_str().unwrap(), "--once", "--timeout", "30s"]);
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    environment.iter().for_each(|(name, value)| {
        command.env(name, value);
    });
    run_command(&mut command, "").expect_code(0);
}

fn config(pki: &Pki, folder: &Path, url: &str) -> PathBuf {
    let yaml = json!({
        "node": "node-1",
        "sources": [{"path": folder.join("flows.log")}],
        "sinks": {"elasticsearch": {
            "hosts": [url],
            "tls": {
                "ca_file": pki.path("ca.pem"),
                "certificate_file": pki.path("client.pem"),
                "key_file": pki.path("client.key"),
            },
        }},
        "state_dir": folder.join("state"),
        "listen": "127.0.0.1:0",
    });
    let file = folder.join("tidegate.yaml");
    std::fs::write(&file, yaml.to_string()).unwrap();
    file
}

#[test]
fn proxies_of_the_environment_are_used_and_left_out_as_it_says() {
    let (fake, pki) = (FakeBulk::start(|_| Act::Take), Pki::new());
    let target = format!("localhost:{}", tls_before(&fake, &pki).port());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let proxy = format!("http://{}", connect_proxy(Arc::clone(&asked)));
    let url = format!("https://{target}");
    let rows: [(&[(&str, String)], bool); 4] = [
        (&[("HTTPS_PROXY", proxy.clone())], true),
        (&[("https_proxy", proxy.clone())], true),
        (&[("HTTPS_PROXY", proxy.clone()), ("NO_PROXY", "example.org,localhost".into())], false),
        (&[], false),
    ];
    for (environment, tunnelled) in rows {
        asked.lock().unwrap().clear();
        run_once(&pki, &url, environment);
        let asked = asked.lock().unwrap().clone();
        assert_eq!(!asked.is_empty(), tunnelled, "{environment:?}");
        assert!(asked.iter().all(|one| *one == target), "{asked:?}");
    }
    assert_eq!(fake.taken().len(), 1, "the same line each time");
}

/// However long the server takes, the lane stops reading at the bound, and then rests.
#[test]
fn memory_is_bounded_and_the_processor_idle_while_a_server_does_not_answer() {
    // An hour is never; the wait of five seconds is shorter than the test.
    for wait in [Duration::from_secs(5), Duration::from_secs(60), Duration::from_secs(3_600)] {
        let fake = FakeBulk::start(move |_| Act::Slow(wait));
        let folder = temp_dir();
        let line = format!("{{\"end_time\":1700000000,\"action\":\"deny\",\"source_name\":\"{}\"}}\n", "x".repeat(900));
        // Hardly compressible would be slow to make: the bound is small instead.
        std::fs::write(folder.path().join("flows.log"), line.repeat(30_000)).unwrap();
        let yaml = json!({
            "node": "node-1",
            "sources": [{"path": folder.path().join("flows.log")}],
            "sinks": {"elasticsearch": {
                "hosts": [fake.url], "in_flight": "1MiB", "batch": {"bytes": "512KiB"}, "compression": 0, "timeout": "10m",
            }},
            "state_dir": folder.path().join("state"),
            "listen": "127.0.0.1:0",
        });
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, yaml.to_string()).unwrap();
        let agent = Running::start(&mut tidegate(&["run", "-c", file.to_str().unwrap()]));
        wait_until("two requests", Duration::from_secs(60), || fake.seen().len() >= 2);
        let (mut spent, mut rests, mut most) = (0, 0, 0);
        wait_until("the lane to rest", Duration::from_secs(120), || {
            std::thread::sleep(Duration::from_millis(100));
            most = most.max(own_kib(agent.pid()));
            let now = cpu_ticks(agent.pid());
            rests = if now == spent { rests + 1 } else { 0 };
            spent = now;
            rests >= 5
        });
        // The aim is 24 MiB with the program's own pages, of which a build without optimisation has several times as many.
        assert!(most <= 12 << 10, "{wait:?}: {most} KiB");
        assert!(fake.seen().len() < 30, "{wait:?}: {} requests", fake.seen().len());
        drop(agent);
    }
}

/// User and system time of a process, in ticks of the kernel's clock.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a state").split_whitespace().collect();
    fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks")
}

/// Resident memory that it asked for: not the pages of its program.
fn own_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").parse().expect("kB")
}
