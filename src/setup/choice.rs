//! What its user chooses of what can be installed.

use std::time::Duration;

use crate::net::product::{Kind, Product};

/// Who makes new backing indices, moves old ones to cheaper nodes, and deletes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lifecycle {
    /// `Ilm` on Elasticsearch, `Ism` on OpenSearch.
    #[default]
    Auto,
    /// Elasticsearch's index lifecycle management: the policy `tidegate-flows`.
    Ilm,
    /// Elasticsearch's data stream lifecycle: a retention and nothing to manage.
    DataStream,
    /// OpenSearch's index state management: the policy `tidegate-flows`.
    Ism,
    /// Somebody else's.
    None,
}

/// `index.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IndexMode {
    #[default]
    Standard,
    Logsdb,
}

/// `index.codec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    Default,
    #[default]
    BestCompression,
}

/// Ages are counted from an index's rollover (OpenSearch: from its creation). They rise: warm, cold, frozen, retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub lifecycle: Lifecycle,
    /// When flows are deleted.
    pub retention: Duration,
    /// When an index is merged into one segment and moves to warm nodes.
    pub warm: Option<Duration>,
    /// When it moves to cold nodes.
    pub cold: Option<Duration>,
    /// When it becomes a searchable snapshot, in this repository.
    pub frozen: Option<(Duration, String)>,
    pub index_mode: IndexMode,
    pub codec: Codec,
    /// Whether documents that do not fit go to the failure store, where the server has one.
    pub failure_store: bool,
    /// Whether the hourly history is kept, and for how long.
    pub history: Option<Duration>,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            lifecycle: Lifecycle::default(),
            retention: Duration::from_secs(30 * DAY),
            warm: None,
            cold: None,
            frozen: None,
            index_mode: IndexMode::default(),
            codec: Codec::default(),
            failure_store: true,
            history: None,
        }
    }
}

pub(super) const DAY: u64 = 86_400;

/// A choice that the server cannot follow; nothing is installed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error("lifecycle: {0} is not a thing of {1}; choose auto, {2} or none")]
    OtherLifecycle(&'static str, Kind, &'static str),
    #[error("{0}: {1} moves no index to such nodes; leave it out")]
    NoTier(&'static str, &'static str),
    #[error("index_mode: logsdb needs Elasticsearch 8.17 or newer, and this is {0}; choose standard")]
    NoLogsdb(Product),
}

impl Choice {
    /// The choice with nothing left to be guessed, or all that the product cannot follow.
    pub fn fit(&self, product: Product) -> Result<Self, Vec<ChoiceError>> {
        let mut errors = Vec::new();
        let lifecycle = match (self.lifecycle, product.kind) {
            (Lifecycle::Auto, Kind::Elasticsearch) => Lifecycle::Ilm,
            (Lifecycle::Auto, Kind::OpenSearch) => Lifecycle::Ism,
            (Lifecycle::Ism, kind @ Kind::Elasticsearch) => {
                errors.push(ChoiceError::OtherLifecycle("ism", kind, "ilm, data_stream"));
                Lifecycle::None
            }
            (Lifecycle::Ilm, kind @ Kind::OpenSearch) => {
                errors.push(ChoiceError::OtherLifecycle("ilm", kind, "ism"));
                Lifecycle::None
            }
            (Lifecycle::DataStream, kind @ Kind::OpenSearch) => {
                errors.push(ChoiceError::OtherLifecycle("data_stream", kind, "ism"));
                Lifecycle::None
            }
            (chosen, _) => chosen,
        };
        errors.extend(self.tiers_that_are_missing(lifecycle));
        let logsdb = product.kind == Kind::Elasticsearch && product.version >= (8, 17, 0);
        if self.index_mode == IndexMode::Logsdb && !logsdb {
            errors.push(ChoiceError::NoLogsdb(product));
        }
        let failure_store = self.failure_store && has_failure_store(product);
        if errors.is_empty() { Ok(Self { lifecycle, failure_store, ..self.clone() }) } else { Err(errors) }
    }

    /// What the choice asks for and the product passes over, in words.
    pub fn without_effect(&self, product: Product) -> Option<String> {
        (self.failure_store && !has_failure_store(product)).then(|| {
            format!(
                "{product} has no failure store, so `failure_store` has no effect: documents that do not fit the mapping go to the dead letter"
            )
        })
    }

    fn tiers_that_are_missing(&self, lifecycle: Lifecycle) -> Vec<ChoiceError> {
        let chosen = [("warm", self.warm.is_some()), ("cold", self.cold.is_some()), ("frozen", self.frozen.is_some())];
        let (who, has): (_, &[&str]) = match lifecycle {
            Lifecycle::DataStream => ("the data stream lifecycle", &[]),
            Lifecycle::Ism => ("index state management", &["warm"]),
            _ => return Vec::new(),
        };
        let missing = |&(tier, chosen): &(&'static str, bool)| chosen && !has.contains(&tier);
        chosen.iter().filter(|tier| missing(tier)).map(|(tier, _)| ChoiceError::NoTier(tier, who)).collect()
    }
}

/// Elasticsearch 8.19, and 9.1 and newer.
fn has_failure_store(product: Product) -> bool {
    let version = product.version;
    product.kind == Kind::Elasticsearch && (version >= (9, 1, 0) || ((8, 19, 0)..(9, 0, 0)).contains(&version))
}

/// A duration as both servers read it: one number, one unit.
pub(super) fn time(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis.is_multiple_of(length) {
            return format!("{}{unit}", millis / length);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(kind: Kind, major: u32, minor: u32) -> Product {
        Product { kind, version: (major, minor, 0) }
    }

    #[test]
    fn what_has_no_effect_is_said() {
        use Kind::{Elasticsearch, OpenSearch};
        let check = |failure_store, product, expected: Option<&str>| {
            let choice = Choice { failure_store, ..Choice::default() };
            let said = choice.without_effect(product);
            assert_eq!(said.as_deref().and_then(|said| said.split(',').next()), expected, "{product} {failure_store}");
        };
        check(true, product(OpenSearch, 3, 4), Some("OpenSearch 3.4.0 has no failure store"));
        check(true, product(Elasticsearch, 9, 0), Some("Elasticsearch 9.0.0 has no failure store"));
        check(true, product(Elasticsearch, 9, 1), None);
        check(false, product(OpenSearch, 3, 4), None);
    }

    #[test]
    fn a_choice_is_fitted_or_refused() {
        use Kind::{Elasticsearch, OpenSearch};
        let choice = Choice::default;
        let day = Some(Duration::from_secs(DAY));
        let check = |choice: Choice, product, expected: &[&str]| match choice.fit(product) {
            Ok(fitted) => {
                assert_eq!(expected, [format!("{:?} {}", fitted.lifecycle, fitted.failure_store)], "{choice:?}")
            }
            Err(errors) => assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected),
        };
        check(choice(), product(Elasticsearch, 9, 2), &["Ilm true"]);
        check(choice(), product(Elasticsearch, 9, 0), &["Ilm false"]);
        check(choice(), product(Elasticsearch, 8, 19), &["Ilm true"]);
        check(choice(), product(Elasticsearch, 8, 18), &["Ilm false"]);
        check(choice(), product(OpenSearch, 3, 4), &["Ism false"]);
        check(Choice { lifecycle: Lifecycle::None, ..choice() }, product(OpenSearch, 2, 19), &["None false"]);
        check(
            Choice { lifecycle: Lifecycle::Ism, ..choice() },
            product(Elasticsearch, 9, 2),
            &["lifecycle: ism is not a thing of Elasticsearch; choose auto, ilm, data_stream or none"],
        );
        check(
            Choice { lifecycle: Lifecycle::Ilm, index_mode: IndexMode::Logsdb, ..choice() },
            product(OpenSearch, 3, 4),
            &[
                "lifecycle: ilm is not a thing of OpenSearch; choose auto, ism or none",
                "index_mode: logsdb needs Elasticsearch 8.17 or newer, and this is OpenSearch 3.4.0; choose standard",
            ],
        );
        check(
            Choice { warm: day, cold: day, ..choice() },
            product(OpenSearch, 3, 4),
            &["cold: index state management moves no index to such nodes; leave it out"],
        );
        check(
            Choice { lifecycle: Lifecycle::DataStream, warm: day, ..choice() },
            product(Elasticsearch, 9, 2),
            &["warm: the data stream lifecycle moves no index to such nodes; leave it out"],
        );
    }

    #[test]
    fn times_are_one_number_and_one_unit() {
        for (seconds, expected) in [(30 * DAY, "30d"), (DAY + 3600, "25h"), (90, "90s"), (5400, "90m"), (0, "0d")] {
            assert_eq!(time(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(time(Duration::from_millis(1500)), "1500ms");
    }
}
