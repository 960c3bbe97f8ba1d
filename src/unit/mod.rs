//! Secrets that no log, error or debug print can show, and where they are kept.

use std::fmt;
use std::path::PathBuf;

/// A secret. Its `Debug` and `Display` are redacted; [`Secret::expose`] is the only way to its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret is read from. Secrets never stand in the configuration itself; a file is read again when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    File(PathBuf),
    Env(String),
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret file {path}: {source}; check that it is mounted and readable", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the environment variable {name} is not set; set it, or name a file instead")]
    Env { name: String },
    #[error("the secret from {origin} is empty")]
    Empty { origin: String },
}

impl SecretRef {
    /// Reads the secret now. White space around it (a file's last newline) is no part of it.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let text = match self {
            Self::File(path) => {
                std::fs::read_to_string(path).map_err(|source| SecretError::File { path: path.clone(), source })?
            }
            Self::Env(name) => std::env::var(name).map_err(|_| SecretError::Env { name: name.clone() })?,
        };
        match text.trim() {
            "" => Err(SecretError::Empty { origin: self.to_string() }),
            text => Ok(Secret::new(text)),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
        }
    }
}
