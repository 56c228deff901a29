//! BFDProfile.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bellhop_api::BFDProfileSpec;
use bellhop_core::objects::BfdProfile;

use super::fields;
use super::metadata::Metadata;
use crate::report::Report;

/// What a thread of an ordinary priority can promise, to what the routing protocol finds by itself.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

pub(crate) fn convert(
    metadata: &Metadata,
    spec: &BFDProfileSpec,
    report: &mut Report,
) -> Option<Arc<BfdProfile>> {
    let mut interval = |text: &str, field: &str| fields::duration(text, field, INTERVALS, report);
    let transmit_interval = interval(&spec.transmit_interval, "spec.transmitInterval");
    let receive_interval = interval(&spec.receive_interval, "spec.receiveInterval");
    Some(Arc::new(BfdProfile {
        name: metadata.name.clone(),
        transmit_interval: transmit_interval?,
        receive_interval: receive_interval?,
        detect_multiplier: spec.detect_multiplier,
        passive: spec.passive,
        minimum_ttl: spec.minimum_ttl,
    }))
}
