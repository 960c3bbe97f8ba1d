//! The query string of a bulk request.

use crate::net::product::{Kind, Product};

/// Only this much of an answer is needed; the created documents' lines stay short, and positions stay visible.
const FILTER: &str =
    "filter_path=errors,items.*.status,items.*._index,items.*.failure_store,items.*.error.type,items.*.error.reason";

/// What only one product or version understands is sent only when we know that we talk to it, for the other one refuses
/// the whole request.
pub fn query(product: Option<Product>) -> String {
    let mut query = FILTER.to_owned();
    if let Some(Product { kind: Kind::Elasticsearch, version }) = product {
        if version >= (8, 13, 0) {
            query.push_str("&require_data_stream=true");
        }
        if version >= (8, 18, 0) {
            query.push_str("&include_source_on_error=false");
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_only_for_those_who_know_them() {
        let check = |product: Option<(Kind, (u32, u32, u32))>, stream, source| {
            let query = query(product.map(|(kind, version)| Product { kind, version }));
            assert!(query.starts_with(FILTER));
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
