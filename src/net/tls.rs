//! One place where TLS towards every peer is set up: which authorities are believed, what we show, what is pinned.
//!
//! Promises: TLS 1.2 and 1.3 with the ring provider, named explicitly and never taken from a process-wide default; the
//! peer is always verified (there is no switch to skip it); files are read by each call, so that a caller who asks again
//! when it reconnects sees certificates that were renewed meanwhile. Every error names the file or setting, the reason
//! and the remedy.
//!
//! Not here: the common name of a subject is never looked at (RFC 9525), only subject alternative names are; no
//! revocation lists.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha1::Digest as _;

use super::certificate::Watch;

/// What a user sets about TLS. The default believes the system's store and shows no certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM, one or more authorities; then only these are believed. `None`: the system's store.
    pub ca_file: Option<PathBuf>,
    /// PEM, our own certificate and its chain. Together with `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// PEM, PKCS#8, SEC1 or PKCS#1, not encrypted.
    pub key_file: Option<PathBuf>,
    /// The name that the peer's certificate must hold, where it differs from the host we connect to.
    pub server_name: Option<String>,
    /// RFC 5425 §4.2.2, `sha-1:AB:CD:…` or `sha-256:…` over the peer's DER certificate: one of these must match, and
    /// then neither authority nor name nor validity is asked.
    pub fingerprints: Vec<String>,
    /// Sees what peers show.
    pub watch: Watch,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {setting} {path}: {source}; check that it is mounted and readable", path = path.display())]
    Unreadable { setting: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{setting} {path} is not usable PEM: {reason}; {remedy}", path = path.display())]
    NotPem { setting: &'static str, path: PathBuf, reason: String, remedy: &'static str },
    #[error("{setting} {path} holds no {wanted} in PEM form; {remedy}", path = path.display())]
    Missing { setting: &'static str, path: PathBuf, wanted: &'static str, remedy: &'static str },
    #[error("certificate {number} in ca_file {path} cannot be used: {source}; replace or remove it", path = path.display())]
    BadAuthority { path: PathBuf, number: usize, source: rustls::Error },
    #[error("{set} is set without {missing}; set both, or neither")]
    HalfPair { set: &'static str, missing: &'static str },
    #[error(
        "key_file {key} does not fit certificate_file {certificate}: {source}; take both from the same issue",
        key = key.display(), certificate = certificate.display()
    )]
    KeyDoesNotFit { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("the system's certificate store is empty{detail}; set ca_file")]
    EmptySystemStore { detail: String },
    #[error(
        "fingerprint {text:?} cannot be used: {reason}; write sha-256: and 32 hexadecimal octets with colons between"
    )]
    Fingerprint { text: String, reason: &'static str },
    #[error("{name:?} is neither a host name nor an address; set server_name to the name in the peer's certificate")]
    ServerName { name: String },
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// The rustls configuration for one peer, everything read and checked now.
pub fn client_config(config: &TlsConfig) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous() // The name of the door to own verifiers; ours only ever ask for as much or for something else.
        .with_custom_certificate_verifier(Arc::new(verifier(config, provider)?));
    let identity = identity(config)?;
    config.watch.own(identity.as_ref().and_then(|(_, _, chain, _)| chain.first()).map(|own| &own[..]));
    let mut client = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key, chain, secret)) => builder.with_client_auth_cert(chain, secret).map_err(|source| {
            TlsError::KeyDoesNotFit { certificate: certificate.to_path_buf(), key: key.to_path_buf(), source }
        })?,
    };
    client.client_auth_cert_resolver =
        Arc::new(Shown { inner: client.client_auth_cert_resolver, watch: config.watch.clone() });
    Ok(Arc::new(client))
}

/// The version and cipher that both sides agreed on, in the standards' names.
pub fn negotiated(link: &rustls::ClientConnection) -> (String, String) {
    let version = match link.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
        other => format!("{other:?}"),
    };
    (version, link.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default())
}

/// Our certificate as before; that the peer asked for it is noted.
#[derive(Debug)]
struct Shown {
    inner: Arc<dyn ResolvesClientCert>,
    watch: Watch,
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.watch.asked();
        self.inner.resolve(hints, schemes)
    }

    fn has_certs(&self) -> bool {
        self.inner.has_certs()
    }
}

/// A configuration that believes nobody, for a client that speaks plain text only but must be given one.
pub fn no_trust() -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The name to ask the peer for (SNI) and to check: the configured one, else the host that we connect to. An IPv6
/// address may stand in brackets, as in a URL.
pub fn server_name(config: &TlsConfig, host: &str) -> Result<ServerName<'static>, TlsError> {
    parse_name(config.server_name.as_deref().unwrap_or(host))
}

/// What a failed handshake or a broken TLS link means for the person who must mend it. `None`: nothing better to say
/// than the error itself.
pub fn explain(error: &std::io::Error) -> Option<String> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let remedy = match tls {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            // A new authority under an old one's name shows as a bad signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its issuer is not believed: set ca_file to the peer's authority"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "it is for another name: connect by a name that it holds, or set server_name"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "it has expired: renew the peer's certificate, or check this machine's clock"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet: check this machine's clock"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "it was not issued for a server: the peer needs one with the server purpose"
            }
            // The word of the library that verifies, which rustls hands on as any error.
            CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
                "it is an authority's and not a server's, as `openssl req -x509` makes them: \
                 give the peer one that an authority signed, or name its own in a SIEM's fingerprints"
            }
            _ => return Some(format!("the peer's certificate was refused: {tls}")),
        },
        rustls::Error::AlertReceived(alert) => return Some(explain_alert(*alert)),
        rustls::Error::InvalidMessage(_) => return Some(format!("the peer does not speak TLS on this port ({tls})")),
        _ => return None,
    };
    Some(format!("the peer's certificate was refused, {remedy} ({tls})"))
}

fn explain_alert(alert: rustls::AlertDescription) -> String {
    use rustls::AlertDescription as A;
    match alert {
        A::CertificateRequired => "the peer wants a client certificate: set certificate_file and key_file".to_owned(),
        A::UnknownCA
        | A::BadCertificate
        | A::CertificateUnknown
        | A::CertificateExpired
        | A::CertificateRevoked
        | A::UnsupportedCertificate
        | A::AccessDenied => {
            format!("the peer refused our client certificate (alert {alert:?}): it must believe its issuer and name")
        }
        A::HandshakeFailure => {
            "the peer broke off the handshake: it may want a client certificate, or share no cipher with us".to_owned()
        }
        _ => format!("the peer broke off with the TLS alert {alert:?}"),
    }
}

fn verifier(config: &TlsConfig, provider: Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
    let algorithms = provider.signature_verification_algorithms;
    if !config.fingerprints.is_empty() {
        let prints = config.fingerprints.iter().map(|text| Fingerprint::parse(text)).collect::<Result<_, _>>()?;
        return Ok(Verifier { trust: Trust::Pinned(prints), algorithms, watch: config.watch.clone() });
    }
    let roots = match &config.ca_file {
        Some(path) => authorities(path)?,
        None => system_store()?,
    };
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
    let name = config.server_name.as_deref().map(parse_name).transpose()?;
    Ok(Verifier { trust: Trust::Authorities { inner, name }, algorithms, watch: config.watch.clone() })
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates("ca_file", path)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|source| TlsError::BadAuthority {
            path: path.to_path_buf(),
            number: index + 1,
            source,
        })?;
    }
    Ok(roots)
}

fn system_store() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let detail = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(TlsError::EmptySystemStore { detail });
    }
    Ok(roots)
}

type Identity<'a> = (&'a Path, &'a Path, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(config: &TlsConfig) -> Result<Option<Identity<'_>>, TlsError> {
    let (certificate, key) = match (config.certificate_file.as_deref(), config.key_file.as_deref()) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => return Err(TlsError::HalfPair { set: "certificate_file", missing: "key_file" }),
        (None, Some(_)) => return Err(TlsError::HalfPair { set: "key_file", missing: "certificate_file" }),
    };
    let remedy = "it needs an unencrypted PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY block";
    let secret = PrivateKeyDer::from_pem_slice(&read("key_file", key)?).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            TlsError::Missing { setting: "key_file", path: key.to_path_buf(), wanted: "private key", remedy }
        }
        // The error is never shown: it may quote a line of the file.
        _ => TlsError::NotPem { setting: "key_file", path: key.to_path_buf(), reason: "damaged".to_owned(), remedy },
    })?;
    Ok(Some((certificate, key, certificates("certificate_file", certificate)?, secret)))
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let remedy = "it needs CERTIFICATE blocks; convert DER with openssl x509 -inform der";
    let text = read(setting, path)?;
    let found = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::NotPem { setting, path: path.to_path_buf(), reason: error.to_string(), remedy })?;
    if found.is_empty() {
        return Err(TlsError::Missing { setting, path: path.to_path_buf(), wanted: "certificate", remedy });
    }
    Ok(found)
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { setting, path: path.to_path_buf(), source })
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::ServerName { name: name.to_owned() })
}

/// Whom we believe, and by whose word. That the peer holds the key of its certificate is proved by the handshake's
/// signature in any case.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
    watch: Watch,
}

#[derive(Debug)]
enum Trust {
    /// The usual verification, against the name of the user where there is one: an HTTP client knows only the host of its
    /// URL.
    Authorities { inner: Arc<WebPkiServerVerifier>, name: Option<ServerName<'static>> },
    /// Exactly the certificates of these fingerprints.
    Pinned(Vec<Fingerprint>),
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.watch.peer(std::iter::once(end_entity).chain(intermediates).map(|certificate| &certificate[..]));
        match &self.trust {
            Trust::Authorities { inner, name } => {
                let name = name.as_ref().unwrap_or(server_name);
                inner.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
            }
            Trust::Pinned(prints) if prints.iter().any(|print| print.matches(end_entity)) => {
                Ok(ServerCertVerified::assertion())
            }
            Trust::Pinned(_) => {
                let seen = fingerprint(end_entity);
                let reason = format!("the peer's certificate {seen} is none of the configured fingerprints");
                Err(rustls::Error::General(reason))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fingerprint {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

impl Fingerprint {
    fn parse(text: &str) -> Result<Self, TlsError> {
        let fail = |reason| TlsError::Fingerprint { text: text.to_owned(), reason };
        let (hash, octets) = text.trim().split_once(':').ok_or_else(|| fail("it names no hash"))?;
        let octets: Vec<u8> = octets
            .split(':')
            .map(|octet| u8::from_str_radix(octet, 16).ok().filter(|_| octet.len() == 2))
            .collect::<Option<_>>()
            .ok_or_else(|| fail("an octet is not two hexadecimal digits"))?;
        match hash.to_ascii_lowercase().as_str() {
            "sha-1" => octets.try_into().map(Self::Sha1).map_err(|_| fail("sha-1 has 20 octets")),
            "sha-256" => octets.try_into().map(Self::Sha256).map_err(|_| fail("sha-256 has 32 octets")),
            _ => Err(fail("the hash is neither sha-1 nor sha-256")),
        }
    }

    fn matches(&self, der: &[u8]) -> bool {
        match self {
            Self::Sha1(wanted) => sha1::Sha1::digest(der)[..] == wanted[..],
            Self::Sha256(wanted) => sha2::Sha256::digest(der)[..] == wanted[..],
        }
    }
}

/// RFC 5425 §4.2.2 `sha-256:…` of a DER certificate: what a user copies into `fingerprints`.
pub fn fingerprint(der: &[u8]) -> String {
    let mut text = String::from("sha-256");
    for octet in sha2::Sha256::digest(der) {
        text.push_str(&format!(":{octet:02X}"));
    }
    text
}

#[cfg(test)]
mod tests;
