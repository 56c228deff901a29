//! Conditional writes to the API server.

use std::sync::Arc;
use std::time::Duration;

use bellhop_core::ObjectRef;
use kube::Client;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::lease::Leadership;
use crate::source::Version;

/// What a write takes for granted; the API server refuses it where it is otherwise ([`WriteError::Conflict`]).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Condition {
    /// `metadata.uid`.
    pub uid: Option<Arc<str>>,
    /// `metadata.resourceVersion`.
    pub resource_version: Option<Arc<str>>,
}

impl From<&Version> for Condition {
    fn from(version: &Version) -> Self {
        Self { uid: Some(version.uid.clone()), resource_version: Some(version.resource_version.clone()) }
    }
}

impl From<&Stored> for Condition {
    fn from(stored: &Stored) -> Self {
        Self { uid: Some(stored.uid.clone()), resource_version: Some(stored.resource_version.clone()) }
    }
}

/// An object as the API server has it after a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`.
    pub resource_version: Arc<str>,
    /// `metadata.generation`; 0 where the kind has none.
    pub generation: i64,
}

/// What was asked of the API server, as RBAC names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verb {
    /// get.
    Get,
    /// list.
    List,
    /// watch.
    Watch,
    /// create.
    Create,
    /// update.
    Update,
    /// patch.
    Patch,
    /// delete.
    Delete,
}

/// Why a write did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The object is not what the condition says (409 Conflict), or another field manager has the field.
    #[error("{verb} {object}: it was changed by somebody else: {message}")]
    Conflict {
        /// What was asked.
        verb: Verb,
        /// Of which object.
        object: ObjectRef,
        /// The server's words.
        message: String,
    },
    /// An object of the name exists (409 AlreadyExists).
    #[error("create {object}: it exists already")]
    Exists {
        /// Which object.
        object: ObjectRef,
    },
    /// There is no such object, or no such kind (404).
    #[error("{verb} {object}: not found: {message}")]
    NotFound {
        /// What was asked.
        verb: Verb,
        /// Of which object.
        object: ObjectRef,
        /// The server's words.
        message: String,
    },
    /// RBAC does not allow it (403).
    #[error("cannot {verb} {resource}: forbidden: {message}; the role must allow {verb} on {resource}")]
    Forbidden {
        /// What was asked.
        verb: Verb,
        /// The resource as RBAC names it, as `services/status`.
        resource: String,
        /// Of which object.
        object: ObjectRef,
        /// The server's words.
        message: String,
    },
    /// Schema, CEL, admission or quota refuse it (400, 403, 413, 422).
    #[error("{verb} {object}: refused: {message}")]
    Invalid {
        /// What was asked.
        verb: Verb,
        /// Of which object.
        object: ObjectRef,
        /// The server's words.
        message: String,
    },
    /// The server is too busy and stayed so while it was asked again (429).
    #[error("{verb} {object}: the API server is too busy; it asks to wait for {} s", retry_after.as_secs())]
    Throttled {
        /// What was asked.
        verb: Verb,
        /// Of which object.
        object: ObjectRef,
        /// How long the server asks to wait.
        retry_after: Duration,
    },
    /// No answer, or one that says nothing about the object (5xx), also when asked again. A write may have happened.
    #[error("{verb} {object}: the API server does not answer: {message}")]
    Unavailable {
        /// What was asked.
        verb: Verb,
        /// Of which object.
        object: ObjectRef,
        /// What was heard.
        message: String,
    },
    /// This process does not lead any more; nothing was sent.
    #[error("{verb} {object}: not written, as this process does not lead any more")]
    NotLeader {
        /// What was to be asked.
        verb: Verb,
        /// Of which object.
        object: ObjectRef,
    },
}

/// Writes to the API server. Clones share the limit of requests under way and the counters.
#[derive(Clone, Debug)]
pub struct Writer {
    _field_manager: &'static str,
}

impl Writer {
    /// A writer under a field manager, `bellhop-controller` or `bellhop-speaker`.
    pub fn new(_client: Client, _field_manager: &'static str) -> Self {
        unimplemented!()
    }

    /// The same, which sends nothing while `leadership` says that this process does not lead.
    #[must_use]
    pub fn fenced(self, _leadership: watch::Receiver<Leadership>) -> Self {
        unimplemented!()
    }

    /// An object as it is now, read from the store and not from a cache; `None` where there is none.
    ///
    /// # Errors
    /// When the API server gives no answer, or refuses one.
    pub async fn read(&self, _object: &ObjectRef) -> Result<Option<Value>, WriteError> {
        unimplemented!()
    }

    /// Creates an object. `manifest` has `spec` or `data` and what of `metadata` is wanted; `apiVersion`, `kind`, name
    /// and namespace are put in from `object`.
    ///
    /// # Errors
    /// [`WriteError::Exists`] where there is one of the name; also where an earlier attempt of this very call made it and
    /// the answer was lost.
    pub async fn create(
        &self,
        _object: &ObjectRef,
        _manifest: &impl Serialize,
    ) -> Result<Stored, WriteError> {
        unimplemented!()
    }

    /// Replaces an object whole (its status apart, where that is a subresource), if it is as `condition` says.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] where it is not.
    pub async fn replace(
        &self,
        _object: &ObjectRef,
        _condition: &Condition,
        _manifest: &impl Serialize,
    ) -> Result<Stored, WriteError> {
        unimplemented!()
    }

    /// Deletes an object, if it is as `condition` says; one that is gone is no error.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] where it is another one, or was changed.
    pub async fn delete(&self, _object: &ObjectRef, _condition: &Condition) -> Result<(), WriteError> {
        unimplemented!()
    }

    /// Deletes an object after everything that it owns (`propagationPolicy: Foreground`).
    ///
    /// # Errors
    /// As [`Writer::delete`].
    pub async fn delete_in_foreground(
        &self,
        _object: &ObjectRef,
        _condition: &Condition,
    ) -> Result<(), WriteError> {
        unimplemented!()
    }

    /// Sets what this field manager has of an object's status, by server-side apply, if the object is as `condition` says.
    /// What was applied before and is left out now is removed.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] where the object is another one or was changed, [`WriteError::NotFound`] where it is gone.
    pub async fn apply_status(
        &self,
        _object: &ObjectRef,
        _condition: &Condition,
        _status: &impl Serialize,
    ) -> Result<Stored, WriteError> {
        unimplemented!()
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Verb {
    /// As RBAC writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

impl WriteError {
    /// The kind of failure, from a closed set, for metrics and conditions.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::Exists { .. } => "exists",
            Self::NotFound { .. } => "notFound",
            Self::Forbidden { .. } => "forbidden",
            Self::Invalid { .. } => "invalid",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::NotLeader { .. } => "notLeader",
        }
    }
}
