//! AddressPool.

use std::sync::Arc;

use bellhop_api::{AddressPoolSpec, Reason};
use bellhop_core::objects::{AddressPool, AddressRange};

use super::metadata::Metadata;
use super::{fields, selector};
use crate::report::Report;

pub(crate) fn convert(
    metadata: Metadata,
    spec: &AddressPoolSpec,
    report: &mut Report,
) -> Option<Arc<AddressPool>> {
    let ranges = ranges(&spec.addresses, "spec.addresses", report);
    for (index, range) in ranges.iter().enumerate() {
        for (before, other) in
            ranges[..index].iter().enumerate().filter(|(_, other)| other.1.overlaps(&range.1))
        {
            let message = format!("overlaps spec.addresses[{before}] ({}); name each address once", other.0);
            report.wrong(Reason::OverlappingRange, format!("spec.addresses[{index}]"), range.0, message);
        }
    }
    let exclude = self::ranges(&spec.exclude, "spec.exclude", report);
    for (index, (text, range)) in exclude.iter().enumerate() {
        if !ranges.iter().any(|(_, other)| other.overlaps(range)) && report.is_empty() {
            let message = "is outside the pool; only addresses of the pool can be excluded";
            report.wrong(Reason::InvalidRange, format!("spec.exclude[{index}]"), text, message);
        }
    }
    Some(Arc::new(AddressPool {
        name: metadata.name,
        labels: metadata.labels,
        ranges: ranges.into_iter().map(|(_, range)| range).collect(),
        exclude: exclude.into_iter().map(|(_, range)| range).collect(),
        auto_assign: spec.auto_assign,
        priority: spec.priority,
        namespace_selector: selector::optional(
            spec.namespace_selector.as_ref(),
            "spec.namespaceSelector",
            report,
        ),
        service_selector: selector::optional(spec.service_selector.as_ref(), "spec.serviceSelector", report),
    }))
}

fn ranges<'a>(texts: &'a [String], field: &str, report: &mut Report) -> Vec<(&'a str, AddressRange)> {
    let each = |(index, text): (usize, &'a String)| {
        Some((text.as_str(), fields::range(text, &format!("{field}[{index}]"), report)?))
    };
    texts.iter().enumerate().filter_map(each).collect()
}
