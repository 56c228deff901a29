//! What has been logged of what is wrong: each problem once when it comes up, and once that it is gone.

use std::collections::{BTreeMap, BTreeSet};

use bellhop_core::{ObjectRef, Problem};

/// Who finds problems; each speaks for all objects that it knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Finder {
    /// Reading manifests.
    Manifests,
    /// The pools of the ledger.
    Pools,
    /// The ledger's answers to Services.
    Allocation,
    /// Writing claims.
    Claims,
    /// The configuration of BGP.
    Peers,
    /// This node's kube-proxy.
    Proxy,
    /// The grace period of the speaker's pod.
    Grace,
    /// The node's packet filter and ARP settings.
    DataPath,
}

/// The problems that stand, as they were logged.
#[derive(Debug, Default)]
pub struct Journal(BTreeMap<(Finder, ObjectRef), Vec<Problem>>);

impl Journal {
    /// These are all problems of one object.
    pub fn object(&mut self, finder: Finder, object: &ObjectRef, problems: &[Problem]) {
        let key = (finder, object.clone());
        let before = self.0.get(&key).map(Vec::as_slice).unwrap_or_default();
        for problem in problems.iter().filter(|problem| !before.contains(problem)) {
            tracing::warn!("{problem}");
        }
        if problems.is_empty() {
            if self.0.remove(&key).is_some() {
                tracing::info!("{object}: has no problem any more");
            }
        } else if before != problems {
            self.0.insert(key, problems.to_vec());
        }
    }

    /// These are all problems that one finder has with any object.
    pub fn all<'a>(&mut self, finder: Finder, problems: impl IntoIterator<Item = &'a Problem>) {
        let mut by_object: BTreeMap<&ObjectRef, Vec<Problem>> = BTreeMap::new();
        for problem in problems {
            by_object.entry(&problem.object).or_default().push(problem.clone());
        }
        let known = self.0.keys().filter(|(known, _)| *known == finder).map(|(_, object)| object.clone());
        let gone: BTreeSet<ObjectRef> = known.filter(|object| !by_object.contains_key(object)).collect();
        for object in gone {
            self.object(finder, &object, &[]);
        }
        for (object, problems) in by_object {
            self.object(finder, object, &problems);
        }
    }

    /// An object is gone, and what was wrong with it.
    pub fn forget(&mut self, finder: Finder, object: ObjectRef) {
        self.0.remove(&(finder, object));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(object: &ObjectRef, value: &str) -> Problem {
        Problem::new(object.clone(), "InvalidValue", "spec.x", value, "must be 1")
    }

    #[test]
    fn what_one_finder_does_not_name_any_more_is_right_and_the_others_problems_stand() {
        let (a, b) = (ObjectRef::cluster("AddressPool", "a"), ObjectRef::cluster("AddressPool", "b"));
        let mut journal = Journal::default();
        journal.object(Finder::Manifests, &a, &[problem(&a, "2")]);
        journal.all(Finder::Pools, [&problem(&a, "3"), &problem(&b, "4")]);
        assert_eq!(journal.0.len(), 3);
        journal.all(Finder::Pools, [&problem(&b, "4")]);
        assert_eq!(journal.0.len(), 2);
        journal.object(Finder::Manifests, &a, &[]);
        journal.forget(Finder::Pools, b);
        assert!(journal.0.is_empty());
    }
}
