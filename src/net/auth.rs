//! Who we say we are. Secrets are read from where they are kept, and again when that has changed or a peer refuses them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use crate::unit::{SecretError, SecretRef};

/// How often a secret is read again without a refusal.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    #[default]
    None,
    Basic {
        username: String,
        password: SecretRef,
    },
    /// The encoded form that Elasticsearch hands out, or `id:key`.
    ApiKey(SecretRef),
    Bearer(SecretRef),
    /// The token of a Splunk HTTP Event Collector.
    Splunk(SecretRef),
}

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the secret from {origin} holds characters that no HTTP header can carry; write it on one line")]
    Unprintable { origin: String },
}

/// The `Authorization` header, kept up to date.
#[derive(Debug)]
pub struct Credentials {
    auth: Auth,
    cached: Mutex<Option<(HeaderValue, Instant)>>,
}

impl Credentials {
    pub fn new(auth: Auth) -> Self {
        Self { auth, cached: Mutex::new(None) }
    }

    /// The header to send now. A secret that can no longer be read stays as it was.
    pub fn header(&self) -> Result<Option<HeaderValue>, AuthError> {
        let mut cached = self.cached();
        match &*cached {
            Some((header, read)) if read.elapsed() < LOOK_AGAIN => return Ok(Some(header.clone())),
            _ => {}
        }
        match (self.auth.header(), &mut *cached) {
            (Ok(None), _) => Ok(None),
            (Ok(Some(header)), cached) => {
                *cached = Some((header.clone(), Instant::now()));
                Ok(Some(header))
            }
            (Err(_), Some((header, read))) => {
                *read = Instant::now();
                Ok(Some(header.clone()))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// The peer refused us: reads again now. True when that gave something else.
    pub fn refresh(&self) -> bool {
        let Ok(Some(fresh)) = self.auth.header() else { return false };
        let mut cached = self.cached();
        let changed = cached.as_ref().is_none_or(|(header, _)| *header != fresh);
        *cached = Some((fresh, Instant::now()));
        changed
    }

    /// What to look at when a peer refuses us.
    pub fn remedy(&self) -> String {
        match &self.auth {
            Auth::None => "no credentials are set; set auth".to_owned(),
            Auth::Basic { username, password } => format!("check user {username} and the password in {password}"),
            Auth::ApiKey(secret) => format!("check the API key in {secret}: it may be revoked or expired"),
            Auth::Bearer(secret) => format!("check the token in {secret}"),
            Auth::Splunk(secret) => {
                format!("check the token in {secret}: it may be wrong, disabled or deleted in Splunk")
            }
        }
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, Option<(HeaderValue, Instant)>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Auth {
    /// Reads the secret and forms the header from it.
    pub fn header(&self) -> Result<Option<HeaderValue>, AuthError> {
        let (text, origin) = match self {
            Self::None => return Ok(None),
            Self::Basic { username, password } => {
                let pair = format!("{username}:{}", password.read()?.expose());
                (format!("Basic {}", STANDARD.encode(pair)), password)
            }
            Self::ApiKey(secret) => {
                let key = secret.read()?;
                let key = key.expose();
                (format!("ApiKey {}", if key.contains(':') { STANDARD.encode(key) } else { key.to_owned() }), secret)
            }
            Self::Bearer(secret) => (format!("Bearer {}", secret.read()?.expose()), secret),
            Self::Splunk(secret) => (format!("Splunk {}", secret.read()?.expose()), secret),
        };
        let mut header =
            HeaderValue::from_str(&text).map_err(|_| AuthError::Unprintable { origin: origin.to_string() })?;
        header.set_sensitive(true);
        Ok(Some(header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, SecretRef) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, text).unwrap();
        (folder, SecretRef::File(path))
    }

    #[test]
    fn every_kind_has_its_header() {
        let check = |text: &str, make: fn(SecretRef) -> Auth, expected: &str| {
            let (_folder, secret) = file(text);
            let header = make(secret).header().unwrap().unwrap();
            assert_eq!(header.to_str().unwrap(), expected);
            assert!(header.is_sensitive() && !format!("{header:?}").contains(expected));
        };
        let basic = |password| Auth::Basic { username: "u".into(), password };
        check("p:w\n", basic, "Basic dTpwOnc=");
        check("aWQ6a2V5", Auth::ApiKey, "ApiKey aWQ6a2V5");
        check("id:key\n", Auth::ApiKey, "ApiKey aWQ6a2V5");
        check("tok", Auth::Bearer, "Bearer tok");
        check("tok\n", Auth::Splunk, "Splunk tok");
        assert_eq!(Auth::None.header().unwrap(), None);
    }

    #[test]
    fn a_changed_secret_is_taken_and_a_vanished_one_stays() {
        let (folder, secret) = file("one");
        let credentials = Credentials::new(Auth::Bearer(secret));
        let now = || credentials.header().unwrap().unwrap().to_str().unwrap().to_owned();
        assert_eq!(now(), "Bearer one");
        assert!(!credentials.refresh(), "the same as before");
        std::fs::write(folder.path().join("secret"), "two").unwrap();
        assert_eq!(now(), "Bearer one", "not read for every request");
        assert!(credentials.refresh());
        assert_eq!(now(), "Bearer two");
        std::fs::remove_file(folder.path().join("secret")).unwrap();
        assert!(!credentials.refresh());
        assert_eq!(now(), "Bearer two");
    }

    #[test]
    fn what_cannot_be_sent_is_an_error_that_shows_no_secret() {
        let (_folder, secret) = file("two\nlines");
        let error = Auth::Bearer(secret.clone()).header().unwrap_err().to_string();
        assert!(error.contains("secret from file") && !error.contains("lines\n"), "{error}");
        let missing = SecretRef::Env("TIDEGATE_TEST_NO_SUCH_VARIABLE".into());
        assert!(Credentials::new(Auth::ApiKey(missing)).header().is_err());
    }
}
