//! The query string of a bulk request.

use std::time::Duration;

use crate::net::product::{Kind, Product};

/// Only this much of an answer is needed; the created documents' lines stay short, and positions stay visible.
const FILTER: &str =
    "filter_path=errors,items.*.status,items.*._index,items.*.failure_store,items.*.error.type,items.*.error.reason";

/// What only one product or version understands is sent only when we know that we talk to it, for the other one refuses
/// the whole request.
///
/// `timeout` is how long we wait; the server shall not work on a request for longer.
pub fn query(product: Option<Product>, timeout: Duration) -> String {
    let mut query = format!("{FILTER}&timeout={}ms", timeout.as_millis().max(1));
    if let Some(Product { kind: Kind::Elasticsearch, version }) = product {
        if requires_data_stream(product) {
            query.push_str("&require_data_stream=true");
        }
        if version >= (8, 18, 0) {
            query.push_str("&include_source_on_error=false");
        }
    }
    query
}

/// Whether the server itself keeps documents out of plain indices.
pub fn requires_data_stream(product: Option<Product>) -> bool {
    product.is_some_and(|product| product.kind == Kind::Elasticsearch && product.version >= (8, 13, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_only_for_those_who_know_them() {
        let check = |product: Option<(Kind, (u32, u32, u32))>, stream, source| {
            let query = query(product.map(|(kind, version)| Product { kind, version }), Duration::from_secs(60));
            assert!(query.starts_with(&format!("{FILTER}&timeout=60000ms")));
            assert_eq!(query.contains("require_data_stream"), stream, "{product:?}");
            assert_eq!(query.contains("include_source_on_error"), source, "{product:?}");
        };
        check(None, false, false);
        check(Some((Kind::Elasticsearch, (8, 12, 9))), false, false);
        check(Some((Kind::Elasticsearch, (8, 13, 0))), true, false);
        check(Some((Kind::Elasticsearch, (8, 18, 0))), true, true);
        check(Some((Kind::Elasticsearch, (9, 0, 0))), true, true);
        check(Some((Kind::OpenSearch, (9, 0, 0))), false, false);
    }
}
