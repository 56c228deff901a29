//! Names of objects, as Kubernetes gives them.

mod shared;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use shared::shared;

/// `metadata.name` of a cluster-scoped object (at most 253 characters, RFC 1123).
pub type ObjectName = Arc<str>;

/// `metadata.uid` of a Service. In standalone form, where manifests may carry none, it is derived from the name.
pub type Uid = Arc<str>;

/// `metadata.namespace` and `metadata.name` of a namespaced object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespacedName {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

/// The key of a Service.
pub type ServiceKey = NamespacedName;

impl NamespacedName {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Kind and name of any object, as messages to people give it: `AddressPool/public`, `Service/web/shop`,
/// `File /etc/bellhop/pools.yaml`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Kubernetes kind, for example `Service`; `File` for a manifest that could not be parsed at all.
    pub kind: Arc<str>,
    /// Namespace, where the kind has one.
    pub namespace: Option<Arc<str>>,
    /// `metadata.name`, or the path of the file.
    pub name: Arc<str>,
}

impl ObjectRef {
    /// A reference to a cluster-scoped object.
    pub fn cluster(kind: &str, name: impl Into<Arc<str>>) -> Self {
        Self { kind: kind.into(), namespace: None, name: name.into() }
    }

    /// A reference to a namespaced object.
    pub fn namespaced(kind: &str, key: &NamespacedName) -> Self {
        Self { kind: kind.into(), namespace: Some(key.namespace.clone()), name: key.name.clone() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.kind, self.name),
            // The path of a file or folder, which has slashes of its own.
            None if self.name.starts_with('/') => write!(f, "{} {}", self.kind, self.name),
            None => write!(f, "{}/{}", self.kind, self.name),
        }
    }
}

impl fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
