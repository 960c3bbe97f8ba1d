//! Expressions of the filter language, as values of the configuration.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::as_text;
use crate::query::{Errors, Query};

/// Which flows are meant, as `verdict = deny and dest.zone = restricted`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline, extend("x-tidegate" = "query")))]
pub struct Expression(pub Arc<Query>);

impl FromStr for Expression {
    type Err = Errors;

    fn from_str(text: &str) -> Result<Self, Errors> {
        Query::parse(text).map(|query| Self(Arc::new(query)))
    }
}

/// As it was written.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.text())
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.text() == other.0.text()
    }
}

as_text!(Expression);
