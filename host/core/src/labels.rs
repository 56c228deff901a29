//! Labels and label selectors (Kubernetes `metav1.LabelSelector`).

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::flat::FlatMap;
use crate::names::shared;

/// Labels or annotations of an object. Shared, because thousands of projections carry the same set.
pub type Labels = Arc<FlatMap<Arc<str>, Arc<str>>>;

/// A `metav1.LabelSelector`: all requirements must hold. The empty selector matches everything.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Selector {
    /// The requirements, `matchLabels` folded in as [`Operator::In`] with one value.
    pub requirements: Vec<Requirement>,
}

/// One requirement of a [`Selector`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Requirement {
    /// Label key.
    pub key: Arc<str>,
    /// What must hold of it.
    pub operator: Operator,
}

/// `metav1.LabelSelectorOperator`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Operator {
    /// The label exists and its value is one of these.
    In(Vec<Arc<str>>),
    /// The label is absent, or its value is none of these.
    NotIn(Vec<Arc<str>>),
    /// The label exists.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl Selector {
    /// True when every requirement holds for `labels`.
    pub fn matches(&self, labels: &FlatMap<Arc<str>, Arc<str>>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// Labels from string pairs, for tests and for sources that hold plain strings. Keys, values and the empty set are
/// shared with labels made before where they can be.
pub fn labels<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> Labels {
    static NONE: LazyLock<Labels> = LazyLock::new(Labels::default);
    let pairs = pairs.into_iter().map(|(key, value)| (shared(key.as_ref()), shared(value.as_ref())));
    let labels: FlatMap<_, _> = pairs.collect();
    if labels.is_empty() { NONE.clone() } else { Arc::new(labels) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(key: &str, operator: Operator) -> Selector {
        Selector { requirements: vec![Requirement { key: key.into(), operator }] }
    }

    #[test]
    fn the_empty_selector_matches_everything() {
        assert!(Selector::default().matches(&labels::<&str, &str>([])));
        assert!(Selector::default().matches(&labels([("a", "b")])));
    }

    #[test]
    fn not_in_matches_an_absent_label_and_in_does_not() {
        let absent = labels::<&str, &str>([]);
        assert!(requirement("zone", Operator::NotIn(vec!["a".into()])).matches(&absent));
        assert!(!requirement("zone", Operator::In(vec!["a".into()])).matches(&absent));
        assert!(requirement("zone", Operator::DoesNotExist).matches(&absent));
        assert!(!requirement("zone", Operator::Exists).matches(&absent));
    }
}
