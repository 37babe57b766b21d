//! How metrics are made and registered: every member of a closed set at once,
//! so that each is there, at 0, from the start.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, PullingGauge, Registry,
};

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
    let clock = Opts::new("stream_clock_lag_seconds", "Wall time minus the shard's clock.");
    let consumer = Opts::new("kafka_consumer_lag", "Events in the partition that were not read yet.");
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
    registered(registry, PullingGauge::new("process_resident_memory_bytes", help, Box::new(resident_bytes)));
}

/// Resident memory as the kernel tells it; 0 where it does not.
fn resident_bytes() -> f64 {
    // The line `VmRSS:  1234 kB`; unlike statm it does not count in pages.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.unwrap_or_default() * 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        assert!(resident_bytes() > 1e6);
    }
}
