//! Label selectors.

use std::sync::Arc;

use bellhop_api::{LabelSelector, LabelSelectorOperator, Reason};
use bellhop_core::labels::{Operator, Requirement, Selector};

use crate::report::Report;

/// A selector; what is wrong with it is reported.
pub(crate) fn selector(api: &LabelSelector, field: &str, report: &mut Report) -> Selector {
    let mut requirements = Vec::with_capacity(api.match_labels.len() + api.match_expressions.len());
    for (key, value) in &api.match_labels {
        let field = format!("{field}.matchLabels[{key}]");
        check_key(key, &field, report);
        check_value(value, &field, report);
        requirements.push(Requirement {
            key: key.as_str().into(),
            operator: Operator::In(vec![value.as_str().into()]),
        });
    }
    for (index, expression) in api.match_expressions.iter().enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        check_key(&expression.key, &format!("{field}.key"), report);
        for (index, value) in expression.values.iter().enumerate() {
            check_value(value, &format!("{field}.values[{index}]"), report);
        }
        let values: Vec<Arc<str>> = expression.values.iter().map(|value| value.as_str().into()).collect();
        let wants_values =
            matches!(expression.operator, LabelSelectorOperator::In | LabelSelectorOperator::NotIn);
        if wants_values == values.is_empty() {
            let message = if wants_values {
                "In and NotIn need values"
            } else {
                "Exists and DoesNotExist take no values"
            };
            report.wrong(Reason::InvalidSelector, format!("{field}.values"), "", message);
        }
        let operator = match expression.operator {
            LabelSelectorOperator::In => Operator::In(values),
            LabelSelectorOperator::NotIn => Operator::NotIn(values),
            LabelSelectorOperator::Exists => Operator::Exists,
            LabelSelectorOperator::DoesNotExist => Operator::DoesNotExist,
        };
        requirements.push(Requirement { key: expression.key.as_str().into(), operator });
    }
    Selector { requirements }
}

/// A selector that may be left out.
pub(crate) fn optional(api: Option<&LabelSelector>, field: &str, report: &mut Report) -> Option<Selector> {
    api.map(|api| selector(api, field, report))
}

/// A label key: an optional DNS prefix and a slash, then at most 63 letters, digits, `-`, `_` and `.`.
fn check_key(key: &str, field: &str, report: &mut Report) {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let right = prefix.is_none_or(super::fields::is_subdomain) && !name.is_empty() && is_label_value(name);
    if !right {
        report.wrong(Reason::InvalidSelector, field, key, "must be a label key as app or example.com/app");
    }
}

fn check_value(value: &str, field: &str, report: &mut Report) {
    if !is_label_value(value) {
        let message = "must be a label value: at most 63 letters, digits, -, _ and ., with a letter or digit at both ends";
        report.wrong(Reason::InvalidSelector, field, value, message);
    }
}

fn is_label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edge = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(inner) && edge(text.bytes().next()) && edge(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use bellhop_core::ObjectRef;
    use bellhop_core::labels::labels;
    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> (Selector, Vec<String>) {
        let api: LabelSelector = serde_json::from_value(value).unwrap();
        let mut report = Report::new(ObjectRef::cluster("AddressPool", "p"));
        let found = selector(&api, "spec.serviceSelector", &mut report);
        (found, report.into_problems().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn labels_and_expressions_must_all_match() {
        let (selector, problems) = read(json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["test"]}],
        }));
        assert_eq!(problems, Vec::<String>::new());
        assert!(selector.matches(&labels([("app", "web")])));
        assert!(!selector.matches(&labels([("app", "web"), ("tier", "test")])));
        assert!(!selector.matches(&labels([("tier", "prod")])));
    }

    #[test]
    fn an_expression_with_values_where_none_belong_is_reported_with_its_place() {
        let (_, problems) = read(json!({"matchExpressions": [
            {"key": "a b", "operator": "In", "values": []}, {"key": "c", "operator": "Exists", "values": ["x"]},
        ]}));
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("matchExpressions[0].key: \"a b\""), "{problems:?}");
        assert!(problems[2].contains("matchExpressions[1].values"), "{problems:?}");
    }
}
