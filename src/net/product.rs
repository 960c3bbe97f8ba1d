//! Who answers: Elasticsearch or OpenSearch, and which version.
//!
//! Knowing it is never a condition: a key that may write need not be allowed to ask.

use reqwest::header::HeaderMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Elasticsearch,
    OpenSearch,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Elasticsearch => "Elasticsearch",
            Self::OpenSearch => "OpenSearch",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    pub kind: Kind,
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
}

impl std::fmt::Display for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor, patch) = self.version;
        write!(f, "{} {major}.{minor}.{patch}", self.kind)
    }
}

impl Product {
    /// From the answer to `GET /`.
    pub fn from_root(body: &[u8]) -> Option<Self> {
        let root: serde_json::Value = serde_json::from_slice(body).ok()?;
        let version = &root["version"];
        let kind = match version["distribution"].as_str() {
            Some("opensearch") => Kind::OpenSearch,
            Some(_) => return None,
            None if version["build_flavor"].is_string() => Kind::Elasticsearch,
            None => return None,
        };
        Some(Self { kind, version: numbers(version["number"].as_str()?)? })
    }

    /// From any answer's headers. Elasticsearch does not tell its version there, so it stays unknown.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        // "OpenSearch/3.4.0 (opensearch)"
        let value = headers.get("x-opensearch-version")?.to_str().ok()?;
        let number = value.strip_prefix("OpenSearch/")?.split(' ').next()?;
        Some(Self { kind: Kind::OpenSearch, version: numbers(number)? })
    }
}

/// "9.2.8", "8.19.0-SNAPSHOT".
fn numbers(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split(['.', '-']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_their_root() {
        let elastic = |number: &str| format!(r#"{{"version":{{"number":"{number}","build_flavor":"default"}}}}"#);
        let open = r#"{"version":{"distribution":"opensearch","number":"3.4.0"}}"#;
        let rows = [
            (elastic("9.2.8"), Some("Elasticsearch 9.2.8")),
            (elastic("8.19.0-SNAPSHOT"), Some("Elasticsearch 8.19.0")),
            (open.to_owned(), Some("OpenSearch 3.4.0")),
            (elastic("nine"), None),
            (r#"{"version":{"distribution":"other","number":"1.0.0","build_flavor":"x"}}"#.to_owned(), None),
            ("<html>".to_owned(), None),
            ("{}".to_owned(), None),
        ];
        for (body, expected) in rows {
            let found = Product::from_root(body.as_bytes()).map(|product| product.to_string());
            assert_eq!(found.as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn opensearch_tells_itself_in_every_answer() {
        let mut headers = HeaderMap::new();
        assert_eq!(Product::from_headers(&headers), None);
        headers.insert("x-opensearch-version", "OpenSearch/2.19.1 (opensearch)".parse().unwrap());
        assert_eq!(Product::from_headers(&headers).unwrap().to_string(), "OpenSearch 2.19.1");
    }
}
