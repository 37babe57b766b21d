//! How metrics are made and registered: every member of a closed set at once,
//! so that each is there, at 0, from the start.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, PullingGauge, Registry,
};

use super::memory::resident_bytes;

/// Registers a metric.
pub(super) fn registered<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> M {
    let metric = metric.expect("names and labels are written here and are right");
    registry.register(Box::new(metric.clone())).expect("each name is registered once");
    metric
}

pub(super) fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
    values: &[&str],
) -> Vec<IntCounter> {
    let family = registered(registry, IntCounterVec::new(Opts::new(name, help), &[label]));
    values.iter().map(|value| family.with_label_values(&[*value])).collect()
}

pub(super) fn counters_by_two(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: [&str; 2],
    values: &[&str],
    others: &[&str],
) -> Vec<Vec<IntCounter>> {
    let family = registered(registry, IntCounterVec::new(Opts::new(name, help), &labels));
    let mut counters = Vec::with_capacity(values.len());
    for value in values {
        counters.push(others.iter().map(|other| family.with_label_values(&[*value, *other])).collect());
    }
    counters
}

pub(super) fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
    values: &[&str],
) -> Vec<IntGauge> {
    let family = registered(registry, IntGaugeVec::new(Opts::new(name, help), &[label]));
    values.iter().map(|value| family.with_label_values(&[*value])).collect()
}

pub(super) fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
    values: &[&str],
    buckets: &[f64],
) -> Vec<Histogram> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let family = registered(registry, HistogramVec::new(options, &[label]));
    values.iter().map(|value| family.with_label_values(&[*value])).collect()
}

pub(super) fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    registered(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
}

/// How far behind things are, by partition: these come and go.
pub(super) fn lags(registry: &Registry) -> (GaugeVec, IntGaugeVec) {
    let clock = Opts::new("stream_clock_lag_seconds", "Wall time minus the partition's clock.");
    let consumer = Opts::new("kafka_consumer_lag", "Events in the partition that are not published yet.");
    (
        registered(registry, GaugeVec::new(clock, &["stream", "partition"])),
        registered(registry, IntGaugeVec::new(consumer, &["topic", "partition"])),
    )
}

/// One number.
pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> Gauge {
    registered(registry, Gauge::new(name, help))
}

/// Version and memory.
pub(super) fn about_the_process(registry: &Registry) {
    let build = Opts::new("windrow_build_info", "The version that runs.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    registered(registry, IntGauge::with_opts(build)).set(1);
    let help = "Resident memory, read when asked.";
    registered(registry, PullingGauge::new("process_resident_memory_bytes", help, Box::new(resident)));
}

/// Resident memory; 0 where the kernel does not tell it.
#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53")]
fn resident() -> f64 {
    resident_bytes().unwrap_or_default() as f64
}
