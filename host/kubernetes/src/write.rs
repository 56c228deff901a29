//! Conditional writes to the API server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellhop_core::ObjectRef;
use http::Method;
use kube::Client;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, watch};

use crate::backoff::{Backoff, chance};
use crate::lease::Leadership;
use crate::request::{Failure, JSON, Request, exchange};
use crate::resource::Resource;
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

/// Most requests under way at once: the API server takes some hundreds from everybody (its priority and fairness), and ten
/// thousand Services are still written as fast as one client can.
const CONCURRENT: usize = 16;

/// How often a request is tried before its failure is told.
const ATTEMPTS: u32 = 4;

/// Waits between these attempts.
const WAIT_LEAST: Duration = Duration::from_millis(200);
const WAIT_MOST: Duration = Duration::from_secs(5);

/// Longest wait that a server may ask for within a call; one that asks for more is told to the caller.
const THROTTLE_MAX: Duration = Duration::from_secs(5);

/// How many calls of a [`Writer`] ended how: by kind, verb and result, which is `ok` or a category of [`WriteError`].
pub type WriteCounts = BTreeMap<(&'static str, Verb, &'static str), u64>;

/// Writes to the API server. Clones share the limit of requests under way and the counters.
///
/// A request that had no answer, was throttled, or met a server in trouble is tried again a few times, with waits that double
/// and heed `Retry-After`; every other failure is told at once. As every request carries its condition, trying again
/// what did happen is refused and not done twice.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    field_manager: &'static str,
    leadership: Option<watch::Receiver<Leadership>>,
    places: Arc<Semaphore>,
    counts: Arc<Mutex<WriteCounts>>,
}

/// What is put in before a request is sent.
enum Asked<'a> {
    Read,
    Create(Value),
    Replace(Value),
    Delete { condition: &'a Condition, foreground: bool },
    ApplyStatus(Value),
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("field_manager", &self.field_manager).finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer under a field manager, `bellhop-controller` or `bellhop-speaker`.
    pub fn new(client: Client, field_manager: &'static str) -> Self {
        let places = Arc::new(Semaphore::new(CONCURRENT));
        Self { client, field_manager, leadership: None, places, counts: Arc::default() }
    }

    /// The same, which sends nothing while `leadership` says that this process does not lead.
    #[must_use]
    pub fn fenced(mut self, leadership: watch::Receiver<Leadership>) -> Self {
        self.leadership = Some(leadership);
        self
    }

    /// What the calls came to so far.
    pub fn counts(&self) -> WriteCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An object as it is now, read from the store and not from a cache; `None` where there is none.
    ///
    /// # Errors
    /// When the API server gives no answer, or refuses one.
    pub async fn read(&self, object: &ObjectRef) -> Result<Option<Value>, WriteError> {
        match self.call(Verb::Get, object, &Asked::Read).await {
            Ok(value) => Ok(Some(value)),
            Err(WriteError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object. `manifest` has `spec` or `data` and what of `metadata` is wanted; `apiVersion`, `kind`, name
    /// and namespace are put in from `object`.
    ///
    /// # Errors
    /// [`WriteError::Exists`] where there is one of the name; also where an earlier attempt of this very call made it and
    /// the answer was lost.
    pub async fn create(&self, object: &ObjectRef, manifest: &impl Serialize) -> Result<Stored, WriteError> {
        let manifest = whole(Verb::Create, object, &Condition::default(), manifest)?;
        Ok(stored(&self.call(Verb::Create, object, &Asked::Create(manifest)).await?))
    }

    /// Replaces an object whole (its status apart, where that is a subresource), if it is as `condition` says.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] where it is not.
    pub async fn replace(
        &self,
        object: &ObjectRef,
        condition: &Condition,
        manifest: &impl Serialize,
    ) -> Result<Stored, WriteError> {
        let manifest = whole(Verb::Update, object, condition, manifest)?;
        Ok(stored(&self.call(Verb::Update, object, &Asked::Replace(manifest)).await?))
    }

    /// Deletes an object, if it is as `condition` says; one that is gone is no error.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] where it is another one, or was changed.
    pub async fn delete(&self, object: &ObjectRef, condition: &Condition) -> Result<(), WriteError> {
        self.delete_as(object, &Asked::Delete { condition, foreground: false }).await
    }

    /// Deletes an object after everything that it owns (`propagationPolicy: Foreground`).
    ///
    /// # Errors
    /// As [`Writer::delete`].
    pub async fn delete_in_foreground(
        &self,
        object: &ObjectRef,
        condition: &Condition,
    ) -> Result<(), WriteError> {
        self.delete_as(object, &Asked::Delete { condition, foreground: true }).await
    }

    async fn delete_as(&self, object: &ObjectRef, asked: &Asked<'_>) -> Result<(), WriteError> {
        match self.call(Verb::Delete, object, asked).await {
            Ok(_) | Err(WriteError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets what this field manager has of an object's status, by server-side apply, if the object is as `condition` says.
    /// What was applied before and is left out now is removed. Let the condition name a `resourceVersion`: for the status of a
    /// custom resource the API server overlooks a UID that is not the object's.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] where the object is another one or was changed, [`WriteError::NotFound`] where it is gone.
    pub async fn apply_status(
        &self,
        object: &ObjectRef,
        condition: &Condition,
        status: &impl Serialize,
    ) -> Result<Stored, WriteError> {
        #[derive(Serialize)]
        struct OfStatus<'a, S: Serialize> {
            status: &'a S,
        }
        let manifest = whole(Verb::Patch, object, condition, &OfStatus { status })?;
        Ok(stored(&self.call(Verb::Patch, object, &Asked::ApplyStatus(manifest)).await?))
    }

    /// One call: attempts until there is an answer that time does not change.
    async fn call(&self, verb: Verb, object: &ObjectRef, asked: &Asked<'_>) -> Result<Value, WriteError> {
        let Some(resource) = Resource::of(object) else {
            let message = format!("no kind {} is written", object.kind);
            return Err(WriteError::Invalid { verb, object: object.clone(), message });
        };
        let result = self.attempts(verb, object, resource, asked).await;
        let label = result.as_ref().map_or_else(WriteError::category, |_| "ok");
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((resource.kind, verb, label)).or_default() += 1;
        result
    }

    async fn attempts(
        &self,
        verb: Verb,
        object: &ObjectRef,
        resource: Resource,
        asked: &Asked<'_>,
    ) -> Result<Value, WriteError> {
        let request = self.request(object, resource, asked);
        let mut backoff = Backoff::new(WAIT_LEAST, WAIT_MOST);
        let mut attempt = 0;
        loop {
            attempt += 1;
            // Never closed: the semaphore lives as long as this.
            let place = self.places.acquire().await;
            // After the wait for a place, and before each attempt: leadership may have ended meanwhile.
            let leads = self.leadership.as_ref().is_none_or(|leadership| leadership.borrow().is_leader());
            if !leads && verb != Verb::Get {
                return Err(WriteError::NotLeader { verb, object: object.clone() });
            }
            let answer = exchange(&self.client, request.clone()).await;
            drop(place);
            let failure = match answer {
                Ok(bytes) => return Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
                Err(failure) => failure,
            };
            let passing = match &failure {
                Failure::Refused(refusal) => refusal.code == 429 || refusal.is_of_the_server(),
                Failure::Silent { .. } => true,
            };
            let too_long = failure.retry_after().is_some_and(|asked| asked > THROTTLE_MAX);
            if !passing || too_long || attempt >= ATTEMPTS {
                return Err(error(verb, object, resource, matches!(asked, Asked::ApplyStatus(_)), failure));
            }
            tokio::time::sleep(backoff.next(failure.retry_after(), chance())).await;
        }
    }

    fn request(&self, object: &ObjectRef, resource: Resource, asked: &Asked<'_>) -> Request {
        let path = resource.object(object);
        let manager = self.field_manager;
        let body = |value: &Value| bytes::Bytes::from(value.to_string());
        let with = |method, path, content_type, value: &Value| Request {
            method,
            path,
            accept: JSON,
            content_type: Some(content_type),
            body: body(value),
        };
        match asked {
            Asked::Read => Request::get(path),
            Asked::Create(manifest) => {
                let path = resource.collection(object.namespace.as_deref());
                with(Method::POST, format!("{path}?fieldManager={manager}"), JSON, manifest)
            }
            Asked::Replace(manifest) => {
                with(Method::PUT, format!("{path}?fieldManager={manager}"), JSON, manifest)
            }
            Asked::Delete { condition, foreground } => {
                let propagation = if *foreground { "Foreground" } else { "Background" };
                let options = json!({
                    "apiVersion": "v1",
                    "kind": "DeleteOptions",
                    "propagationPolicy": propagation,
                    "preconditions": preconditions(condition),
                });
                with(Method::DELETE, path, JSON, &options)
            }
            // Forced: no other manager may own what is Bellhop's; what it took is taken back.
            Asked::ApplyStatus(manifest) => with(
                Method::PATCH,
                format!("{path}/status?fieldManager={manager}&force=true"),
                "application/apply-patch+yaml",
                manifest,
            ),
        }
    }
}

/// `metav1.Preconditions`, and the same as fields of `metadata`.
fn preconditions(condition: &Condition) -> Map<String, Value> {
    let fields = [("uid", &condition.uid), ("resourceVersion", &condition.resource_version)];
    fields.into_iter().filter_map(|(name, value)| Some((name.into(), value.as_deref()?.into()))).collect()
}

/// A manifest with its kind, name, namespace and condition.
fn whole(
    verb: Verb,
    object: &ObjectRef,
    condition: &Condition,
    manifest: &impl Serialize,
) -> Result<Value, WriteError> {
    let invalid = |message: String| WriteError::Invalid { verb, object: object.clone(), message };
    let mut value = serde_json::to_value(manifest).map_err(|error| invalid(error.to_string()))?;
    let fields = value.as_object_mut().ok_or_else(|| invalid("a manifest must be a JSON object".into()))?;
    fields.insert("apiVersion".into(), Resource::of(object).map(|resource| resource.api_version).into());
    fields.insert("kind".into(), (&*object.kind).into());
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("name".into(), (&*object.name).into());
        if let Some(namespace) = &object.namespace {
            metadata.insert("namespace".into(), (&**namespace).into());
        }
        metadata.append(&mut preconditions(condition));
    }
    Ok(value)
}

/// What a written object has of an identity.
fn stored(value: &Value) -> Stored {
    let metadata = value.get("metadata");
    let field = |name: &str| metadata.and_then(|metadata| metadata.get(name));
    let text = |name: &str| field(name).and_then(Value::as_str).unwrap_or_default().into();
    let generation = field("generation").and_then(Value::as_i64).unwrap_or_default();
    Stored { uid: text("uid"), resource_version: text("resourceVersion"), generation }
}

/// A failure in the words of this crate.
fn error(
    verb: Verb,
    object: &ObjectRef,
    resource: Resource,
    of_status: bool,
    failure: Failure,
) -> WriteError {
    let object = object.clone();
    let refusal = match failure {
        Failure::Refused(refusal) => refusal,
        Failure::Silent { message, .. } => return WriteError::Unavailable { verb, object, message },
    };
    let message = refusal.message;
    match (refusal.code, refusal.reason.as_str()) {
        (409, "AlreadyExists") => WriteError::Exists { object },
        (409, _) => WriteError::Conflict { verb, object, message },
        (404 | 410, _) => WriteError::NotFound { verb, object, message },
        (429, _) => {
            let retry_after = refusal.retry_after.unwrap_or(WAIT_MOST);
            WriteError::Throttled { verb, object, retry_after }
        }
        (401, _) => forbidden(verb, object, resource, of_status, message),
        // RBAC's words are `User "x" cannot patch resource "services/status" ...`; admission's and a quota's are others.
        (403, _) if message.contains(&format!("cannot {verb} resource")) => {
            forbidden(verb, object, resource, of_status, message)
        }
        (code, _) if code >= 500 || code == 408 => WriteError::Unavailable { verb, object, message },
        _ => WriteError::Invalid { verb, object, message },
    }
}

fn forbidden(
    verb: Verb,
    object: ObjectRef,
    resource: Resource,
    of_status: bool,
    message: String,
) -> WriteError {
    let status = if of_status { "/status" } else { "" };
    WriteError::Forbidden { verb, resource: format!("{}{status}", resource.plural), object, message }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Refusal;

    fn refused(code: u16, reason: &str, message: &str) -> WriteError {
        let refusal = Refusal { code, reason: reason.into(), message: message.into(), retry_after: None };
        let service =
            ObjectRef { kind: "Service".into(), namespace: Some("web".into()), name: "shop".into() };
        let resource = Resource::of(&service).unwrap();
        error(Verb::Patch, &service, resource, true, Failure::Refused(refusal))
    }

    #[test]
    fn a_denied_verb_is_named_with_its_resource_and_admission_is_told_in_its_own_words() {
        let rbac = refused(
            403,
            "Forbidden",
            r#"services "shop" is forbidden: User "x" cannot patch resource "services/status""#,
        );
        assert_eq!(rbac.category(), "forbidden");
        assert!(rbac.to_string().contains("the role must allow patch on services/status"), "{rbac}");
        let admission = refused(403, "Forbidden", "admission webhook \"x\" denied the request: not today");
        assert_eq!(admission.category(), "invalid");
        assert!(admission.to_string().contains("not today"), "{admission}");
    }

    #[test]
    fn every_answer_has_one_category() {
        for (code, reason, category) in [
            (409, "AlreadyExists", "exists"),
            (409, "Conflict", "conflict"),
            (404, "NotFound", "notFound"),
            (422, "Invalid", "invalid"),
            (413, "RequestEntityTooLarge", "invalid"),
            (429, "TooManyRequests", "throttled"),
            (500, "InternalError", "unavailable"),
            (503, "", "unavailable"),
            (401, "Unauthorized", "forbidden"),
        ] {
            assert_eq!(refused(code, reason, "").category(), category, "{code} {reason}");
        }
    }

    #[test]
    fn a_manifest_gets_its_identity_and_its_condition() {
        let claim = ObjectRef::cluster("AddressClaim", "203.0.113.7");
        let condition = Condition { uid: Some("u".into()), resource_version: Some("7".into()) };
        let value = whole(Verb::Update, &claim, &condition, &json!({"spec": {"address": "203.0.113.7"}}));
        assert_eq!(
            value.unwrap(),
            json!({
                "apiVersion": bellhop_api::API_VERSION, "kind": "AddressClaim",
                "metadata": {"name": "203.0.113.7", "uid": "u", "resourceVersion": "7"},
                "spec": {"address": "203.0.113.7"},
            })
        );
    }
}
