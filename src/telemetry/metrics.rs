//! The text that Prometheus reads (OpenMetrics 1.0). Numbers are kept where they arise and asked for at each scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Counter(u64),
    Gauge(f64),
}

impl Value {
    fn encode(self, metric: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Counter(v) => ConstCounter::new(v).encode(metric),
            Self::Gauge(v) => ConstGauge::new(v).encode(metric),
        }
    }
}

/// One number at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    name: &'static str,
    help: &'static str,
    labels: Vec<(&'static str, String)>,
    value: Value,
}

impl Sample {
    /// `name` without `_total`, which the format adds.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, labels: Vec::new(), value: Value::Counter(value) }
    }

    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, labels: Vec::new(), value: Value::Gauge(value) }
    }

    pub fn label(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((key, value.into()));
        self
    }
}

type Ask = Box<dyn Fn() -> Vec<Sample> + Send + Sync>;

#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Vec<Ask>>>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// `ask` is called at every scrape.
    pub fn add(&self, ask: impl Fn() -> Vec<Sample> + Send + Sync + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(ask));
    }

    /// Forgets all sources of numbers (before a reload adds new ones).
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// One scrape.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let asks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // All samples of one name must stand together.
        let mut families: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
        for sample in asks.iter().flat_map(|ask| ask()) {
            families.entry(sample.name).or_default().push(sample);
        }
        for (name, samples) in families {
            let kind = match samples[0].value {
                Value::Counter(v) => ConstCounter::new(v).metric_type(),
                Value::Gauge(v) => ConstGauge::new(v).metric_type(),
            };
            let mut family = encoder.encode_descriptor(name, samples[0].help, None, kind)?;
            if let [only] = &samples[..]
                && only.labels.is_empty()
            {
                // A family without labels would be written as `name{}`.
                only.value.encode(family)?;
                continue;
            }
            for sample in &samples {
                sample.value.encode(family.encode_family(&sample.labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::LaneStats;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn two_lanes_in_one_family() {
        let metrics = Metrics::default();
        for (name, read) in [("elasticsearch", 7), ("siem-soc", 3)] {
            let lane = LaneStats::new(name);
            lane.read.store(read, Relaxed);
            lane.delivered.store(2, Relaxed);
            metrics.add(move || lane.samples());
        }
        let text = metrics.text().unwrap();
        assert!(text.contains("tidegate_lane_read_lines_total{lane=\"elasticsearch\"} 7\n"), "{text}");
        assert!(text.contains("tidegate_lane_in_flight_lines{lane=\"siem-soc\"} 1.0\n"), "{text}");
        assert_eq!(text.matches("# TYPE tidegate_lane_read_lines counter").count(), 1, "{text}");
        assert!(text.ends_with("# EOF\n"));
        metrics.add(|| vec![Sample::counter("tidegate_alone", "No labels", 5)]);
        assert!(metrics.text().unwrap().contains("\ntidegate_alone_total 5\n"));
    }
}
