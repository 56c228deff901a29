//! ConfigMap (core/v1) of Bellhop's own namespace: it may carry plugin modules.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellhop_api::Reason;
use bellhop_core::objects::ModuleSource;
use k8s_openapi::api::core::v1 as k8s;
use serde_json::Value;

use super::decode;
use super::metadata::Metadata;
use crate::report::Report;

/// Most bytes of data in a ConfigMap: the limit of the API server (`v1.MaxSecretSize`).
const DATA_MAX_BYTES: usize = 1024 * 1024;

pub(crate) fn convert(metadata: &Metadata, value: Value, report: &mut Report) -> Option<Arc<ModuleSource>> {
    let config_map: k8s::ConfigMap = decode(value, "", report)?;
    let text = config_map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
    let binary = config_map.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0));
    let mut data: BTreeMap<Arc<str>, Arc<[u8]>> = BTreeMap::new();
    for (key, bytes) in text.chain(binary) {
        if data.insert(key.as_str().into(), bytes.into()).is_some() {
            let message = "stands in data and in binaryData and must stand in one of them";
            report.wrong(Reason::ConflictingFields, format!("binaryData[{key}]"), key, message);
        }
    }
    let bytes: usize = data.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > DATA_MAX_BYTES {
        let message = format!("data has {bytes} bytes and may have at most {DATA_MAX_BYTES}");
        report.wrong(Reason::TooLarge, "binaryData", "", message);
        return None;
    }
    Some(Arc::new(ModuleSource { name: metadata.name.clone(), data }))
}
