//! Counters as OpenMetrics text.
//!
//! Promises: asks for values only when somebody scrapes; the data plane never waits for a scrape. It keeps no values of
//! its own.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// Whether a value only rises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only rises; its name is written with `_total` behind it.
    Counter,
    Gauge,
}

/// One metric with all its label sets.
#[derive(Clone, Debug)]
pub struct Family {
    /// Without `_total`.
    pub name: &'static str,
    /// One sentence, without a full stop.
    pub help: &'static str,
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

/// One value. The labels of a family are a closed set: nothing that came from outside is ever a label.
#[derive(Clone, Debug)]
pub struct Sample {
    pub labels: Vec<(&'static str, String)>,
    pub value: u64,
}

/// Asked at each scrape, on the control plane's thread. It may read atomics; it must not wait.
pub type Scrape = Arc<dyn Fn() -> Vec<Family> + Send + Sync>;

/// What `/metrics` answers with.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Family {
    /// A metric without labels.
    pub fn single(name: &'static str, help: &'static str, kind: Kind, value: u64) -> Self {
        Self { name, help, kind, samples: vec![Sample { labels: Vec::new(), value }] }
    }
}

/// OpenMetrics text, closed by `# EOF`.
pub(super) fn render(families: Vec<Family>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let metric_type = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, metric_type)?;
            for sample in &family.samples {
                if sample.labels.is_empty() {
                    encode_value(&mut metric, family.kind, sample.value)?;
                } else {
                    encode_value(&mut metric.encode_family(&sample.labels)?, family.kind, sample.value)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_value(metric: &mut MetricEncoder<'_>, kind: Kind, value: u64) -> fmt::Result {
    match kind {
        Kind::Counter => metric.encode_counter::<NoLabelSet, u64, f64>(&value, None),
        Kind::Gauge => metric.encode_gauge(&value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_openmetrics_text() {
        let labelled = |direction: &str, value| Sample { labels: vec![("direction", direction.to_owned())], value };
        let families = vec![
            Family::single("websocket_connections", "Open connections", Kind::Gauge, 7),
            Family {
                name: "websocket_messages",
                help: "Messages",
                kind: Kind::Counter,
                samples: vec![labelled("in", 3), labelled("out", u64::MAX)],
            },
        ];
        let expected = "# HELP websocket_connections Open connections\n\
                        # TYPE websocket_connections gauge\n\
                        websocket_connections 7\n\
                        # HELP websocket_messages Messages\n\
                        # TYPE websocket_messages counter\n\
                        websocket_messages_total{direction=\"in\"} 3\n\
                        websocket_messages_total{direction=\"out\"} 18446744073709551615\n\
                        # EOF\n";
        assert_eq!(render(families).unwrap(), expected);
    }
}
