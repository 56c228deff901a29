//! What a metric can be.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{Label, LabelSet};

/// Upper bounds of every histogram, in seconds: from a short slice of planning to an API server that is overloaded.
/// One list for all, so that any two can be shown over each other.
pub const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// A metric's type in Prometheus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows, until the process or the object that it belongs to starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets, with sum and count.
    Histogram,
}

impl Kind {
    /// The word of the exposition format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What the table must know of a metric's type.
pub(super) trait Instrument: Clone + Default {
    /// Type.
    const KIND: Kind;
    /// Labels, in order.
    const LABELS: &'static [Label];
    /// What is registered; shares its value with `self`.
    type Encoded: EncodeMetric + fmt::Debug + Send + Sync + 'static;
    /// The part that is registered.
    fn encoded(&self) -> Self::Encoded;
}

/// Events counted by labels.
#[derive(Clone, Debug)]
pub struct Counts<L: LabelSet>(Family<L, Counter>);

impl<L: LabelSet> Counts<L> {
    /// One more.
    pub fn inc(&self, labels: &L) {
        self.0.get_or_create(labels).inc();
    }

    /// The count so far.
    pub fn count(&self, labels: &L) -> u64 {
        self.0.get(labels).map_or(0, |counter| counter.get())
    }
}

impl<L: LabelSet> Default for Counts<L> {
    fn default() -> Self {
        Self(Family::default())
    }
}

impl<L: LabelSet> Instrument for Counts<L> {
    const KIND: Kind = Kind::Counter;
    const LABELS: &'static [Label] = L::LABELS;
    type Encoded = Family<L, Counter>;
    fn encoded(&self) -> Self::Encoded {
        self.0.clone()
    }
}

/// How long something took, in [`BUCKETS`].
#[derive(Clone, Debug)]
pub struct Timing(Histogram);

impl Timing {
    /// One more.
    pub fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self(Histogram::new(BUCKETS))
    }
}

impl Instrument for Timing {
    const KIND: Kind = Kind::Histogram;
    const LABELS: &'static [Label] = &[];
    type Encoded = Histogram;
    fn encoded(&self) -> Self::Encoded {
        self.0.clone()
    }
}

/// How a measured value is to be read.
pub trait Reading: Clone + fmt::Debug + Default + Send + Sync + 'static {
    /// As which type it is exposed.
    const KIND: Kind;
}

/// Measured values that go up and down.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsGauge;

impl Reading for AsGauge {
    const KIND: Kind = Kind::Gauge;
}

/// Measured values that their owner counts upwards.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsCounter;

impl Reading for AsCounter {
    const KIND: Kind = Kind::Counter;
}

fn encode_value<K: Reading>(mut encoder: MetricEncoder<'_>, value: f64) -> fmt::Result {
    match K::KIND {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
        Kind::Gauge | Kind::Histogram => encoder.encode_gauge(&value),
    }
}

fn metric_type<K: Reading>() -> MetricType {
    match K::KIND {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge | Kind::Histogram => MetricType::Gauge,
    }
}

/// A value without labels; not exposed before it has been set once.
#[derive(Clone, Debug)]
pub struct Value<K: Reading = AsGauge>(Arc<AtomicU64>, PhantomData<K>);

impl<K: Reading> Value<K> {
    /// The value from now on.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// 1 or 0 from now on.
    pub fn set_bool(&self, value: bool) {
        self.set(if value { 1.0 } else { 0.0 });
    }

    /// The value, once it has been set.
    pub fn value(&self) -> Option<f64> {
        Some(f64::from_bits(self.0.load(Ordering::Relaxed))).filter(|value| !value.is_nan())
    }
}

impl<K: Reading> Default for Value<K> {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(f64::NAN.to_bits())), PhantomData)
    }
}

impl<K: Reading> EncodeMetric for Value<K> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.value().map_or(Ok(()), |value| encode_value::<K>(encoder, value))
    }

    fn metric_type(&self) -> MetricType {
        metric_type::<K>()
    }

    fn is_empty(&self) -> bool {
        self.value().is_none()
    }
}

impl<K: Reading> Instrument for Value<K> {
    const KIND: Kind = K::KIND;
    const LABELS: &'static [Label] = &[];
    type Encoded = Self;
    fn encoded(&self) -> Self::Encoded {
        self.clone()
    }
}

/// Values by labels that their owner replaces whole, so that what is gone is not exposed any more.
#[derive(Clone, Debug)]
pub struct Values<L: LabelSet, K: Reading = AsGauge>(Arc<Mutex<Vec<(L, f64)>>>, PhantomData<K>);

impl<L: LabelSet, K: Reading> Values<L, K> {
    /// These are all values from now on; of two with the same labels the later one counts.
    pub fn replace(&self, values: impl IntoIterator<Item = (L, f64)>) {
        let mut values: Vec<(L, f64)> = values.into_iter().collect();
        let mut seen = std::collections::HashSet::new();
        values.reverse();
        values.retain(|(labels, _)| seen.insert(labels.clone()));
        values.reverse();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = values;
    }

    /// The values as they are.
    pub fn values(&self) -> Vec<(L, f64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<L: LabelSet, K: Reading> Default for Values<L, K> {
    fn default() -> Self {
        Self(Arc::default(), PhantomData)
    }
}

impl<L: LabelSet, K: Reading> EncodeMetric for Values<L, K> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, value) in self.values() {
            encode_value::<K>(encoder.encode_family(&labels)?, value)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        metric_type::<K>()
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl<L: LabelSet, K: Reading> Instrument for Values<L, K> {
    const KIND: Kind = K::KIND;
    const LABELS: &'static [Label] = L::LABELS;
    type Encoded = Self;
    fn encoded(&self) -> Self::Encoded {
        self.clone()
    }
}
