//! Which ConfigMaps are to be read whole.
//!
//! All of Bellhop's namespace are watched as metadata; the content of a few is needed, and read once for each of their
//! versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellhop_core::ObjectName;

/// `metadata.resourceVersion`.
type ResourceVersion = Arc<str>;

/// What is known of ConfigMaps, and what was read of them.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    known: BTreeMap<ObjectName, (ResourceVersion, u32)>,
    /// Number of the list that is being read.
    list: u32,
    listed: bool,
    /// They cannot be listed: nothing is known, and nothing awaited.
    refused: bool,
    /// What was asked for and has no answer yet.
    asked: BTreeMap<ObjectName, ResourceVersion>,
    /// What was read; `None` where there was nothing to read.
    read: BTreeMap<ObjectName, Option<ResourceVersion>>,
}

/// What is to be done about a ConfigMap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// Read it; the answer comes by [`Bodies::answered`] with this version.
    Read(ObjectName, ResourceVersion),
    /// It does not exist.
    Gone(ObjectName),
}

impl Bodies {
    pub(crate) fn relist(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    pub(crate) fn seen(&mut self, name: &str, version: &str) {
        self.known.insert(name.into(), (version.into(), self.list));
    }

    pub(crate) fn gone(&mut self, name: &str) {
        self.known.remove(name);
    }

    pub(crate) fn listed(&mut self) {
        let list = self.list;
        self.known.retain(|_, (_, seen)| *seen == list);
        self.listed = true;
        self.refused = false;
    }

    pub(crate) fn refused(&mut self) {
        self.refused = true;
    }

    /// What is to be done now, given what is referred to.
    pub(crate) fn due(&mut self, referenced: &BTreeSet<ObjectName>) -> Vec<Due> {
        self.read.retain(|name, _| referenced.contains(name));
        if !self.listed {
            return Vec::new();
        }
        let mut due = Vec::new();
        for name in referenced {
            match self.known.get(name) {
                Some((version, _)) => {
                    let read = self.read.get(name).is_some_and(|read| read.as_ref() == Some(version));
                    if !read && self.asked.get(name) != Some(version) {
                        self.asked.insert(name.clone(), version.clone());
                        due.push(Due::Read(name.clone(), version.clone()));
                    }
                }
                None => {
                    self.asked.remove(name);
                    if self.read.insert(name.clone(), None) != Some(None) {
                        due.push(Due::Gone(name.clone()));
                    }
                }
            }
        }
        due
    }

    /// An answer came; whether it is the one that is awaited.
    pub(crate) fn answered(&mut self, name: &ObjectName, version: &ResourceVersion) -> bool {
        let awaited = self.asked.get(name) == Some(version);
        if awaited {
            self.asked.remove(name);
            self.read.insert(name.clone(), Some(version.clone()));
        }
        awaited
    }

    /// Whether everything that is referred to was read, or cannot be.
    pub(crate) fn is_settled(&self, referenced: &BTreeSet<ObjectName>) -> bool {
        self.refused || (self.listed && referenced.iter().all(|name| self.read.contains_key(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<ObjectName> {
        names.iter().map(|name| (*name).into()).collect()
    }

    fn read(name: &str, version: &str) -> Due {
        Due::Read(name.into(), version.into())
    }

    #[test]
    fn a_config_map_is_read_once_for_each_version_and_only_while_it_is_referred_to() {
        let mut bodies = Bodies::default();
        bodies.relist();
        bodies.seen("a", "1");
        bodies.seen("b", "1");
        assert_eq!(bodies.due(&names(&["a"])), []);
        assert!(!bodies.is_settled(&names(&["a"])));
        bodies.listed();
        assert_eq!(bodies.due(&names(&["a"])), [read("a", "1")]);
        assert_eq!(bodies.due(&names(&["a"])), []);
        assert!(!bodies.is_settled(&names(&["a"])));
        assert!(bodies.answered(&"a".into(), &"1".into()));
        assert!(bodies.is_settled(&names(&["a"])) && bodies.due(&names(&["a"])).is_empty());
        bodies.seen("a", "2");
        assert_eq!(bodies.due(&names(&["a", "b"])), [read("a", "2"), read("b", "1")]);
        bodies.seen("a", "3");
        assert!(!bodies.answered(&"a".into(), &"1".into()));
        assert_eq!(bodies.due(&names(&["a"])), [read("a", "3")]);
    }

    #[test]
    fn one_that_is_gone_is_told_once_and_read_when_it_is_back() {
        let mut bodies = Bodies::default();
        bodies.listed();
        assert_eq!(bodies.due(&names(&["a"])), [Due::Gone("a".into())]);
        assert_eq!(bodies.due(&names(&["a"])), []);
        assert!(bodies.is_settled(&names(&["a"])));
        bodies.seen("a", "5");
        assert_eq!(bodies.due(&names(&["a"])), [read("a", "5")]);
        assert!(bodies.answered(&"a".into(), &"5".into()));
        bodies.relist();
        bodies.listed();
        assert_eq!(bodies.due(&names(&["a"])), [Due::Gone("a".into())]);
    }
}
