//! Namespace (core/v1).

use bellhop_core::objects::Namespace;

use super::metadata::Metadata;

pub(crate) fn convert(metadata: Metadata) -> Namespace {
    Namespace { name: metadata.name, labels: metadata.labels }
}
