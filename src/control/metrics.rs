//! Counters as OpenMetrics text.
//!
//! Promises: asks for values only when somebody scrapes; the data plane never waits for a scrape. It keeps no values of
//! its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
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
    /// Counts by bucket; shown with `_bucket`, `_sum` and `_count` behind its name.
    Histogram,
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
    pub value: Value,
}

/// What a metric says.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Number(u64),
    /// Seconds, as the convention wants them.
    Fraction(f64),
    Histogram(Histogram),
}

/// What a histogram says.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram {
    /// Upper end and how many fell into the bucket; the end of the last is `f64::INFINITY`, shown as `+Inf`.
    pub buckets: Vec<(f64, u64)>,
    pub sum: f64,
}

/// Asked at each scrape, on the control plane's thread. It may read atomics; it must not wait.
pub type Scrape = Arc<dyn Fn() -> Vec<Family> + Send + Sync>;

/// What `/metrics` answers with.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Family {
    /// A metric without labels.
    pub fn single(name: &'static str, help: &'static str, kind: Kind, value: u64) -> Self {
        Self { name, help, kind, samples: vec![Sample { labels: Vec::new(), value: Value::Number(value) }] }
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

/// `/metrics`. `refused` counts sockets turned away before they came this far.
pub(super) fn routes(scrape: Scrape, refused: Arc<AtomicU64>) -> Router {
    Router::new().route("/metrics", get(serve).with_state(complete(scrape, refused)))
}

/// What is scraped, and what is counted here.
pub(super) fn complete(scrape: Scrape, refused: Arc<AtomicU64>) -> Scrape {
    Arc::new(move || {
        let (mut families, refused) = (scrape(), refused.load(Ordering::Relaxed));
        families.push(Family::single(HTTP_REFUSED.0, HTTP_REFUSED.1, Kind::Counter, refused));
        families
    })
}

async fn serve(State(scrape): State<Scrape>) -> Response {
    match render(scrape()) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let metric_type = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, metric_type)?;
            for sample in &family.samples {
                if sample.labels.is_empty() {
                    encode_value(&mut metric, family.kind, &sample.value)?;
                } else {
                    encode_value(&mut metric.encode_family(&sample.labels)?, family.kind, &sample.value)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_value(metric: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Number(value)) => metric.encode_counter::<NoLabelSet, u64, f64>(value, None),
        (Kind::Gauge, Value::Number(value)) => metric.encode_gauge(value),
        (Kind::Gauge, Value::Fraction(value)) => metric.encode_gauge(value),
        (Kind::Counter, Value::Fraction(value)) => metric.encode_counter::<NoLabelSet, f64, f64>(value, None),
        (Kind::Histogram, Value::Histogram(histogram)) => {
            let count = histogram.buckets.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<NoLabelSet>(histogram.sum, count, &histogram.buckets, None)
        }
        (Kind::Counter | Kind::Gauge, Value::Histogram(_)) | (Kind::Histogram, _) => Err(fmt::Error),
    }
}

/// The one metric that is counted here.
pub const HTTP_REFUSED: (&str, &str) =
    ("throng_http_refused", "Plain HTTP connections answered 503 because too many were open");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_openmetrics_text() {
        let labelled = |direction: &str, value| Sample {
            labels: vec![("direction", direction.to_owned())],
            value: Value::Number(value),
        };
        let families = vec![
            Family::single("websocket_connections", "Open connections", Kind::Gauge, 7),
            Family {
                name: "websocket_messages",
                help: "Messages",
                kind: Kind::Counter,
                samples: vec![labelled("in", 3), labelled("out", u64::MAX)],
            },
            Family {
                name: "wait_seconds",
                help: "Waits",
                kind: Kind::Histogram,
                samples: vec![Sample {
                    labels: Vec::new(),
                    value: Value::Histogram(Histogram { buckets: vec![(0.005, 2), (f64::INFINITY, 1)], sum: 1.5 }),
                }],
            },
        ];
        let expected = "# HELP websocket_connections Open connections\n\
                        # TYPE websocket_connections gauge\n\
                        websocket_connections 7\n\
                        # HELP websocket_messages Messages\n\
                        # TYPE websocket_messages counter\n\
                        websocket_messages_total{direction=\"in\"} 3\n\
                        websocket_messages_total{direction=\"out\"} 18446744073709551615\n\
                        # HELP wait_seconds Waits\n\
                        # TYPE wait_seconds histogram\n\
                        wait_seconds_sum 1.5\n\
                        wait_seconds_count 3\n\
                        wait_seconds_bucket{le=\"0.005\"} 2\n\
                        wait_seconds_bucket{le=\"+Inf\"} 3\n\
                        # EOF\n";
        assert_eq!(render(families).unwrap(), expected);
    }
}
