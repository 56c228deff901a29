//! The index: which file holds which objects, which version of each is in force, and what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellhop_api::Reason;
use bellhop_core::names::NamespacedName;
use bellhop_core::{Delta, ObjectRef, Problem};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::convert::{self, Identity, Kind, Options, Outcome, Projection};
use crate::document::{self, Chunk, DOCUMENTS_MAX, ParseError};
use crate::endpoints::{Endpoints, endpoint_of};
use crate::secrets::{self, Known};

/// SHA-256 of a file or document.
type Digest = [u8; 32];

/// Most problems shown of one file.
const FILE_PROBLEMS_MAX: usize = 16;

/// Which file holds which objects, and which version of each is in force.
///
/// - An object that stands in several files counts as in the first by path; the others get a problem.
/// - A version with problems is not taken; the one before stays in force.
/// - While a part of a file cannot be parsed at all, no object of that file is taken for deleted.
/// - Of two BGPPeers with the same address the one that was there first stays.
/// - A BGPPeer has the password of the Secret that it names, whichever was there first; while that Secret is missing or
///   wrong, the password known last.
#[derive(Debug, Default)]
pub struct Index {
    options: Options,
    files: BTreeMap<Arc<str>, File>,
    objects: BTreeMap<ObjectRef, Object>,
    endpoints: Endpoints,
    /// Objects whose documents changed since the last deltas.
    dirty: BTreeSet<ObjectRef>,
    /// Files whose problems changed since the last deltas.
    dirty_files: BTreeMap<Arc<str>, Vec<Problem>>,
}

/// One file.
#[derive(Debug, Default)]
struct File {
    digest: Option<Digest>,
    documents: Vec<Document>,
    /// What stands in the documents, by object; more than one entry where an object stands there twice.
    entries: BTreeMap<ObjectRef, Vec<Arc<Entry>>>,
    /// What is wrong with the content of the file.
    problems: Vec<Problem>,
    /// Why the file cannot be read at all, while it cannot.
    refused: Option<Problem>,
}

/// One document of a file.
#[derive(Clone, Debug)]
struct Document {
    digest: Digest,
    entries: Vec<Arc<Entry>>,
    problems: Vec<Problem>,
    /// It could not be parsed: it is not known which objects it holds.
    torn: bool,
}

/// An object as it stands in one place.
#[derive(Debug)]
struct Entry {
    object: ObjectRef,
    /// `None` where it has problems.
    projection: Option<Projection>,
    problems: Vec<Problem>,
}

/// An object, wherever it stands.
#[derive(Debug, Default)]
struct Object {
    files: BTreeSet<Arc<str>>,
    in_force: Option<InForce>,
    problems: Vec<Problem>,
}

/// The version of an object that is in force.
#[derive(Clone, Debug)]
struct InForce {
    projection: Projection,
    file: Arc<str>,
}

/// Changes of several files that are one change: nothing moves from one file to another by way of being deleted.
#[derive(Debug)]
#[must_use = "the deltas must reach the World"]
pub struct Batch<'a>(&'a mut Index);

impl Index {
    /// An empty index.
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Begins a change of several files.
    pub fn batch(&mut self) -> Batch<'_> {
        Batch(self)
    }

    /// A file has this content now.
    pub fn apply(&mut self, file: &str, content: &[u8]) -> Vec<Delta> {
        let mut batch = self.batch();
        batch.apply(file, content);
        batch.deltas()
    }

    /// A file is gone.
    pub fn delete(&mut self, file: &str) -> Vec<Delta> {
        let mut batch = self.batch();
        batch.delete(file);
        batch.deltas()
    }

    /// These are all files that there are.
    pub fn reset<'f>(&mut self, files: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Vec<Delta> {
        let mut gone: BTreeSet<Arc<str>> = self.files.keys().cloned().collect();
        let mut batch = self.batch();
        for (file, content) in files {
            gone.remove(file);
            batch.apply(file, content);
        }
        for file in gone {
            batch.delete(&file);
        }
        batch.deltas()
    }

    /// Names of the files known.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(|file| &**file)
    }

    /// How many objects are in force.
    pub fn len(&self) -> usize {
        self.objects.values().filter(|object| object.in_force.is_some()).count()
    }

    /// True when no object is in force.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every object in force and every problem, as deltas: what a World that starts anew has to be told.
    pub fn snapshot(&self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for (name, object) in &self.objects {
            deltas.extend(object.in_force.iter().filter_map(|in_force| in_force.projection.set()));
            if !object.problems.is_empty() {
                deltas.push(Delta::Problems(name.clone(), object.problems.clone()));
            }
        }
        for (name, file) in &self.files {
            let problems = file.shown();
            if !problems.is_empty() {
                deltas.push(Delta::Problems(file_ref(name), problems));
            }
        }
        deltas
    }
}

impl Batch<'_> {
    /// A file has this content now.
    pub fn apply(&mut self, file: &str, content: &[u8]) {
        self.0.apply_file(file, content);
    }

    /// A file is gone, and its objects with it.
    pub fn delete(&mut self, file: &str) {
        let Some((name, file)) = self.0.files.remove_entry(file) else { return };
        self.0.dirty_files.entry(name.clone()).or_insert_with(|| file.shown());
        for object in file.entries.into_keys() {
            self.0.unlink(&object, &name);
        }
    }

    /// A file is there and cannot be read: its objects stay as they are.
    pub fn refuse(&mut self, file: &str, reason: Reason, value: &str, message: impl Into<String>) {
        let problem = Problem::new(file_ref(file), reason.as_str(), "", value, message);
        self.0.file_mut(file).refused = Some(problem);
    }

    /// The deltas, in the order of kinds and names; nothing for what ended as it began.
    pub fn deltas(self) -> Vec<Delta> {
        self.0.settle()
    }
}

/// How problems name a file.
fn file_ref(file: &str) -> ObjectRef {
    ObjectRef::cluster("File", file)
}

impl File {
    /// The problems that are shown of the file.
    fn shown(&self) -> Vec<Problem> {
        self.refused.iter().chain(&self.problems).take(FILE_PROBLEMS_MAX).cloned().collect()
    }
}

impl Index {
    /// A file, made if it is not known; its problems are compared when the batch ends.
    fn file_mut(&mut self, file: &str) -> &mut File {
        let name: Arc<str> =
            self.files.get_key_value(file).map_or_else(|| file.into(), |(name, _)| name.clone());
        let state = self.files.entry(name.clone()).or_default();
        self.dirty_files.entry(name).or_insert_with(|| state.shown());
        state
    }

    fn apply_file(&mut self, name: &str, content: &[u8]) {
        let digest: Digest = Sha256::digest(content).into();
        let file = self.file_mut(name);
        file.refused = None;
        if file.digest == Some(digest) {
            return;
        }
        file.digest = Some(digest);
        if content.trim_ascii().is_empty() && !file.entries.is_empty() {
            // An editor that truncates before it writes, or a disk that was full. Deleting is done by deleting.
            let message = format!(
                "is empty; its {} objects stay in force: delete the file, or leave a comment in it, to remove them",
                file.entries.len()
            );
            file.problems = vec![Problem::new(file_ref(name), Reason::Unreadable.as_str(), "", "", message)];
            return;
        }
        let json = name.ends_with(".json");
        let chunks =
            if json { vec![Chunk { bytes: 0..content.len(), line: 0 }] } else { document::split(content) };
        if chunks.len() > DOCUMENTS_MAX {
            let message = format!("has more than {DOCUMENTS_MAX} documents; split it into several files");
            file.problems = vec![Problem::new(file_ref(name), Reason::TooLarge.as_str(), "", "", message)];
            return;
        }
        let mut before: BTreeMap<Digest, Vec<Document>> = BTreeMap::new();
        for document in std::mem::take(&mut file.documents) {
            before.entry(document.digest).or_default().push(document);
        }
        let old_entries = std::mem::take(&mut file.entries);
        let documents = self.documents(name, content, chunks, before);
        let torn = documents.iter().any(|document| document.torn);
        let mut entries: BTreeMap<ObjectRef, Vec<Arc<Entry>>> = BTreeMap::new();
        for entry in documents.iter().flat_map(|document| &document.entries) {
            entries.entry(entry.object.clone()).or_default().push(entry.clone());
        }
        if torn {
            for (object, old) in &old_entries {
                entries.entry(object.clone()).or_insert_with(|| old.clone());
            }
        }
        self.relink(name, &old_entries, &entries);
        let file = self.file_mut(name);
        file.problems = documents.iter().flat_map(|document| document.problems.clone()).collect();
        file.entries = entries;
        file.documents = documents;
    }

    /// Reads the documents of a file; those that did not change are taken over.
    fn documents(
        &self,
        name: &str,
        content: &[u8],
        chunks: Vec<Chunk>,
        mut before: BTreeMap<Digest, Vec<Document>>,
    ) -> Vec<Document> {
        let json = name.ends_with(".json");
        let mut shown = 0;
        let read = |chunk: Chunk| {
            let bytes = &content[chunk.bytes];
            let digest: Digest = Sha256::digest(bytes).into();
            // One with problems of its own names its line, which may have moved.
            let same = before.get_mut(&digest).and_then(Vec::pop);
            let same = same.filter(|old| !old.torn && old.problems.is_empty());
            let mut document = same.unwrap_or_else(|| self.document(name, bytes, digest, chunk.line, json));
            // What is not shown is not kept: a file of nothing but mistakes must not cost more than one of objects.
            document.problems.truncate(FILE_PROBLEMS_MAX - shown);
            document.problems.shrink_to_fit();
            shown += document.problems.len();
            document
        };
        chunks.into_iter().map(read).collect()
    }

    fn document(&self, name: &str, bytes: &[u8], digest: Digest, line: usize, json: bool) -> Document {
        let mut document = Document { digest, entries: Vec::new(), problems: Vec::new(), torn: false };
        let at = |line: usize| if line == 0 { String::new() } else { format!("line {line}") };
        match document::parse(bytes, line, json) {
            Ok(Value::Null) => {}
            Ok(value) => self.objects_of(name, value, line, &mut document),
            Err(ParseError::Encoding { line }) => {
                document.torn = true;
                let message = "is not UTF-8 text; save the file as UTF-8";
                document.problems.push(Problem::new(
                    file_ref(name),
                    Reason::InvalidEncoding.as_str(),
                    at(line),
                    "",
                    message,
                ));
            }
            Err(ParseError::TooLarge) => {
                document.torn = true;
                let message = "is too large or nested too deeply: a document may have 50,000 values, aliases counted \
                               where they stand, and 64 levels; split it into several";
                let place = format!("document at line {}", line + 1);
                document.problems.push(Problem::new(
                    file_ref(name),
                    Reason::TooLarge.as_str(),
                    place,
                    "",
                    message,
                ));
            }
            Err(ParseError::Syntax { line, message }) => {
                document.torn = true;
                let kind = if json { "JSON" } else { "YAML" };
                let message = format!("is not {kind} that can be read: {message}");
                let reason = Reason::InvalidSyntax.as_str();
                document.problems.push(Problem::new(file_ref(name), reason, at(line), "", message));
            }
        }
        document
    }

    /// The objects of a parsed document: itself, or the items of a List.
    fn objects_of(&self, name: &str, value: Value, line: usize, document: &mut Document) {
        let is_list = value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        if is_list && let Value::Object(mut fields) = value {
            match fields.remove("items") {
                Some(Value::Array(items)) => {
                    for item in items {
                        self.object(name, item, line, document);
                    }
                }
                None | Some(Value::Null) => {}
                Some(other) => document.problems.push(Problem::new(
                    file_ref(name),
                    Reason::WrongType.as_str(),
                    format!("document at line {}: items", line + 1),
                    crate::schema::shown(&other),
                    "must be a list of objects",
                )),
            }
            return;
        }
        self.object(name, value, line, document);
    }

    fn object(&self, name: &str, value: Value, line: usize, document: &mut Document) {
        match convert::identify(&value, &self.options) {
            Identity::Known(kind, object) => match convert::convert(kind, &object, value, &self.options) {
                Outcome::Read(projection, problems) => {
                    document.entries.push(Arc::new(Entry { object, projection, problems }));
                }
                Outcome::Ignored(why) => tracing::debug!(file = name, %object, why, "ignored"),
            },
            Identity::Foreign(kind) => tracing::debug!(file = name, kind, "ignored: a kind that is not read"),
            Identity::Nothing { reason, field, value, message } => {
                // Which object it is cannot be known: as with a document that cannot be parsed, none is taken for gone.
                document.torn = true;
                let place = format!("document at line {}", line + 1);
                let field = if field.is_empty() { place } else { format!("{place}: {field}") };
                document.problems.push(Problem::new(file_ref(name), reason.as_str(), field, value, message));
            }
        }
    }

    /// Marks what differs between two readings of a file, and keeps `Object::files` true.
    fn relink(
        &mut self,
        name: &str,
        before: &BTreeMap<ObjectRef, Vec<Arc<Entry>>>,
        after: &BTreeMap<ObjectRef, Vec<Arc<Entry>>>,
    ) {
        let Some((name, _)) = self.files.get_key_value(name) else { return };
        let name = name.clone();
        for object in before.keys().filter(|object| !after.contains_key(*object)) {
            self.unlink(object, &name);
        }
        for (object, entries) in after {
            let same = before.get(object).is_some_and(|before| {
                before.len() == entries.len() && before.iter().zip(entries).all(|(a, b)| Arc::ptr_eq(a, b))
            });
            if !same {
                self.objects.entry(object.clone()).or_default().files.insert(name.clone());
                self.dirty.insert(object.clone());
            }
        }
    }

    fn unlink(&mut self, object: &ObjectRef, file: &Arc<str>) {
        if let Some(state) = self.objects.get_mut(object) {
            state.files.remove(file);
            self.dirty.insert(object.clone());
        }
    }

    /// Decides anew what is in force of every dirty object, and says what changed.
    fn settle(&mut self) -> Vec<Delta> {
        let mut before: BTreeMap<ObjectRef, (Option<Projection>, Vec<Problem>)> = BTreeMap::new();
        loop {
            while let Some(name) = self.dirty.pop_first() {
                let Some(object) = self.objects.get(&name) else { continue };
                before.entry(name.clone()).or_insert_with(|| {
                    (
                        object.in_force.as_ref().map(|in_force| in_force.projection.clone()),
                        object.problems.clone(),
                    )
                });
                self.decide(&name);
            }
            let exchanged = self.endpoints.exchange();
            if exchanged.is_empty() {
                break;
            }
            self.dirty.extend(exchanged);
        }
        let mut deltas = Vec::new();
        for (name, (projection, problems)) in before {
            let object = self.objects.get(&name);
            match (projection, object.and_then(|object| object.in_force.as_ref())) {
                (Some(old), None) => deltas.extend(old.unset()),
                (old, Some(new)) if old.as_ref() != Some(&new.projection) => {
                    deltas.extend(new.projection.set())
                }
                _ => {}
            }
            let now = object.map(|object| object.problems.clone()).unwrap_or_default();
            if now != problems {
                deltas.push(Delta::Problems(name, now));
            }
        }
        for (name, problems) in std::mem::take(&mut self.dirty_files) {
            let now = self.files.get(&name).map(File::shown).unwrap_or_default();
            if now != problems {
                deltas.push(Delta::Problems(file_ref(&name), now));
            }
        }
        deltas
    }

    /// Decides what is in force of one object.
    fn decide(&mut self, name: &ObjectRef) {
        let Some(object) = self.objects.get(name) else { return };
        let places: Vec<(Arc<str>, Arc<Entry>)> = object
            .files
            .iter()
            .filter_map(|file| Some((file, self.files.get(file)?.entries.get(name)?)))
            .flat_map(|(file, entries)| entries.iter().map(move |entry| (file.clone(), entry.clone())))
            .collect();
        let old = object.in_force.clone();
        let mut problems: Vec<Problem> =
            places.iter().flat_map(|(_, entry)| entry.problems.clone()).collect();
        // The first place by path counts. A broken one counts if it is where the version in force came from: a mistake
        // in one file must not put another file's version in force.
        let chosen = places.iter().position(|(file, entry)| {
            entry.projection.is_some() || old.as_ref().is_some_and(|old| old.file == *file)
        });
        let counts = chosen.unwrap_or(0);
        for (index, (file, _)) in places.iter().enumerate().filter(|(index, _)| *index != counts) {
            let first = &places[counts].0;
            let message = if **first == **file && index != counts {
                format!("stands twice in {file}; the first one counts: remove the other")
            } else {
                format!("stands in {first} too, which counts: remove it from one of the two files")
            };
            problems.push(Problem::new(name.clone(), Reason::DuplicateObject.as_str(), "", &**file, message));
        }
        let new = chosen.and_then(|index| {
            let (file, entry) = &places[index];
            entry.projection.clone().map(|projection| InForce { projection, file: file.clone() })
        });
        // Broken everywhere: the last good version stays. Nowhere any more: gone.
        let wanted = if places.is_empty() { None } else { new.or_else(|| old.clone()) };
        let same = wanted.as_ref().map(|new| &new.projection) == old.as_ref().map(|old| &old.projection);
        if &*name.kind == Kind::Secret.as_str() && !same {
            let peers = self.objects.keys().filter(|object| &*object.kind == Kind::BgpPeer.as_str());
            self.dirty.extend(peers.cloned().collect::<Vec<_>>());
        }
        let wanted = self.with_password(name, wanted, old.as_ref(), &mut problems);
        let in_force = self.admit(name, wanted, old, &mut problems);
        if places.is_empty() {
            self.objects.remove(name);
        } else if let Some(object) = self.objects.get_mut(name) {
            object.in_force = in_force;
            object.problems = problems;
        }
    }

    /// A BGPPeer with the password of the Secret that it names; any other object as it is.
    fn with_password(
        &self,
        name: &ObjectRef,
        wanted: Option<InForce>,
        old: Option<&InForce>,
        problems: &mut Vec<Problem>,
    ) -> Option<InForce> {
        let wanted = wanted?;
        let Projection::Peer(peer) = &wanted.projection else { return Some(wanted) };
        let Some(secret) = &peer.password_secret else { return Some(wanted) };
        let namespace = &self.options.namespace;
        let key = NamespacedName { namespace: namespace.clone(), name: secret.clone() };
        let secret = self.objects.get(&ObjectRef::namespaced(Kind::Secret.as_str(), &key));
        let known = match secret.and_then(|secret| secret.in_force.as_ref()) {
            Some(InForce { projection: Projection::Secret(secret), .. }) => {
                Known::Read(secret.password.clone())
            }
            _ => Known::Absent,
        };
        let in_force = old.and_then(|old| old.projection.peer());
        let (version, problem) = secrets::with_password(name, peer, in_force, &known, namespace);
        problems.extend(problem);
        match version {
            Some(peer) => Some(InForce { projection: Projection::Peer(peer), file: wanted.file }),
            None => old.cloned(),
        }
    }

    /// Admits a version next to the others in force: of two BGPPeers with one endpoint the first one stays.
    fn admit(
        &mut self,
        name: &ObjectRef,
        wanted: Option<InForce>,
        old: Option<InForce>,
        problems: &mut Vec<Problem>,
    ) -> Option<InForce> {
        let endpoint =
            |version: &Option<InForce>| version.as_ref().and_then(|version| endpoint_of(&version.projection));
        match self.endpoints.admit(name, endpoint(&old), endpoint(&wanted)) {
            Ok(again) => {
                self.dirty.extend(again);
                wanted
            }
            Err(problem) => {
                problems.push(*problem);
                old
            }
        }
    }
}

#[cfg(test)]
mod tests;
