use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

struct Issued {
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(ca: &CertifiedIssuer<'_, KeyPair>, name: &str, years: std::ops::Range<i32>) -> Issued {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    Issued { pem: certificate.pem(), der: certificate.der().clone(), key }
}

const VALID: std::ops::Range<i32> = 2000..4000;

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, text: &str) -> Option<PathBuf> {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    }
}

/// One handshake over loopback with a server that shows `shown`; what the client made of it.
fn handshake(config: &TlsConfig, shown: &Issued, host: &str) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown.der.clone()], PrivateKeyDer::try_from(shown.key.serialize_der()).unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut link = rustls::ServerConnection::new(Arc::new(server)).unwrap();
        let mut stream = rustls::Stream::new(&mut link, &mut socket);
        let _ = stream.write_all(b"x").and_then(|()| stream.flush());
    });
    let client = client_config(config).map_err(|error| error.to_string())?;
    let name = server_name(config, host).map_err(|error| error.to_string())?;
    let mut link = rustls::ClientConnection::new(client, name).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    let result = rustls::Stream::new(&mut link, &mut socket).read_exact(&mut [0]);
    drop(socket);
    peer.join().unwrap();
    result.map_err(|error: io::Error| explain(&error).unwrap_or_else(|| error.to_string()))
}

fn check(result: Result<(), String>, expected: Result<(), &str>) {
    match (&result, expected) {
        (Ok(()), Ok(())) => {}
        (Err(error), Err(part)) if error.contains(part) => {}
        _ => panic!("{result:?}, expected {expected:?}"),
    }
}

#[test]
fn authorities_and_names() {
    let (dir, ca, foreign) = (Dir::new(), authority("ca"), authority("foreign"));
    let server = issue(&ca, "siem.test", VALID);
    let both = format!("{}{}", foreign.pem(), ca.pem());
    let config = |ca_file| TlsConfig { ca_file, ..TlsConfig::default() };
    let ours = config(dir.put("ca.pem", &ca.pem()));
    check(handshake(&ours, &server, "siem.test"), Ok(()));
    check(handshake(&config(dir.put("both.pem", &both)), &server, "siem.test"), Ok(()));
    check(handshake(&config(dir.put("foreign.pem", &foreign.pem())), &server, "siem.test"), Err("set ca_file"));
    let again = config(dir.put("again.pem", &authority("ca").pem()));
    check(handshake(&again, &server, "siem.test"), Err("set ca_file"));
    check(handshake(&ours, &server, "other.test"), Err("set server_name"));
    let named = TlsConfig { server_name: Some("siem.test".to_owned()), ..ours.clone() };
    check(handshake(&named, &server, "other.test"), Ok(()));
    check(handshake(&ours, &issue(&ca, "siem.test", 2000..2001), "siem.test"), Err("it has expired"));
    check(handshake(&ours, &issue(&ca, "siem.test", 3000..3001), "siem.test"), Err("not valid yet"));
    check(handshake(&ours, &issue(&ca, "::1", VALID), "[::1]"), Ok(()));
    check(handshake(&ours, &server, "no such host"), Err("neither a host name nor an address"));
}

#[test]
fn fingerprints_instead_of_authority_and_name() {
    let server = issue(&authority("ca"), "siem.test", 2000..2001);
    let config = |text: String| TlsConfig { fingerprints: vec![text], ..TlsConfig::default() };
    let sha256 = fingerprint(&server.der);
    let octets: Vec<String> = sha1::Sha1::digest(&server.der).iter().map(|b| format!("{b:02x}")).collect();
    check(handshake(&config(sha256.clone()), &server, "anything.test"), Ok(()));
    check(handshake(&config(sha256.to_lowercase()), &server, "anything.test"), Ok(()));
    check(handshake(&config(format!("sha-1:{}", octets.join(":"))), &server, "anything.test"), Ok(()));
    let other = issue(&authority("ca"), "siem.test", VALID);
    check(handshake(&config(sha256), &other, "siem.test"), Err("none of the configured fingerprints"));
}

#[test]
fn a_pinned_certificate_without_its_key_is_refused() {
    let (server, thief) = (issue(&authority("ca"), "siem.test", VALID), issue(&authority("ca"), "siem.test", VALID));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = TlsConfig { fingerprints: vec![fingerprint(&server.der)], ..TlsConfig::default() };
    let pinned = verifier(&config, provider).unwrap();
    // A server that shows the pinned certificate but signs with another key.
    let provider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(PrivateKeyDer::try_from(thief.key.serialize_der()).unwrap());
    let shown = rustls::sign::CertifiedKey::new(vec![server.der.clone()], key.unwrap());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    let mut ends = (
        rustls::ClientConnection::new(Arc::new(client), "siem.test".try_into().unwrap()).unwrap(),
        rustls::ServerConnection::new(Arc::new(config)).unwrap(),
    );
    let mut wire = Vec::new();
    ends.0.write_tls(&mut wire).unwrap();
    ends.1.read_tls(&mut wire.as_slice()).unwrap();
    ends.1.process_new_packets().unwrap();
    wire.clear();
    while ends.1.wants_write() {
        ends.1.write_tls(&mut wire).unwrap();
    }
    ends.0.read_tls(&mut wire.as_slice()).unwrap();
    let error = ends.0.process_new_packets().unwrap_err();
    assert!(matches!(error, rustls::Error::InvalidCertificate(CertificateError::BadSignature)), "{error:?}");
}

#[test]
fn errors_name_file_reason_and_remedy() {
    let (dir, ca) = (Dir::new(), authority("ca"));
    let (ours, theirs) = (issue(&ca, "client.test", VALID), issue(&ca, "client.test", VALID));
    let ca_file = dir.put("ca.pem", &ca.pem());
    let certificate_file = dir.put("client.pem", &ours.pem);
    let key_file = dir.put("client.key", &ours.key.serialize_pem());
    let base = TlsConfig { ca_file: ca_file.clone(), certificate_file, key_file, ..TlsConfig::default() };
    let fail = |config: TlsConfig, parts: &[&str]| {
        let error = client_config(&config).map(drop).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error:?} holds not all of {parts:?}");
    };
    assert!(client_config(&base).is_ok());
    let nowhere = Some(dir.0.path().join("nowhere.pem"));
    fail(TlsConfig { ca_file: nowhere, ..base.clone() }, &["ca_file", "nowhere.pem", "No such file", "mounted"]);
    let empty = dir.put("empty.pem", "no blocks here\n");
    fail(TlsConfig { ca_file: empty.clone(), ..base.clone() }, &["ca_file", "empty.pem", "no certificate"]);
    fail(TlsConfig { certificate_file: empty.clone(), ..base.clone() }, &["certificate_file", "no certificate"]);
    fail(TlsConfig { key_file: empty, ..base.clone() }, &["key_file", "no private key", "unencrypted"]);
    let cut = dir.put("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    fail(TlsConfig { ca_file: cut, ..base.clone() }, &["ca_file", "cut.pem", "not usable PEM"]);
    let junk = dir.put("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    fail(TlsConfig { ca_file: junk, ..base.clone() }, &["certificate 1 in ca_file", "junk.pem", "replace"]);
    let other = dir.put("other.key", &theirs.key.serialize_pem());
    fail(TlsConfig { key_file: other, ..base.clone() }, &["other.key", "does not fit", "client.pem"]);
    fail(TlsConfig { key_file: None, ..base.clone() }, &["certificate_file is set without key_file"]);
    fail(TlsConfig { certificate_file: None, ..base.clone() }, &["key_file is set without certificate_file"]);
    for text in ["AB:CD", "sha-1:AB", "md5:AB:CD", "sha-256:XY", "sha-1", "sha-1:+1:02"] {
        fail(TlsConfig { fingerprints: vec![text.to_owned()], ..base.clone() }, &["fingerprint", text]);
    }
    fail(TlsConfig { server_name: Some("a b".to_owned()), ..base }, &["a b", "server_name"]);
}
