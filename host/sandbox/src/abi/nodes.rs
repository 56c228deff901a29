//! `bellhop:policy-nodes/nodes`.

use bellhop_policy_engine::guest::{GuestError, GuestVerdict, NodesQuestion, Noted};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::{Node, OwnedPair, Pair, Service, invalid, no_extra, note, text};

/// Parameters of `decide`.
pub(crate) type Params<'a> = (Request<'a>,);
/// Results of `decide`.
pub(crate) type Results = (Result<Response, String>,);

/// `topology-count`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct TopologyCount<'a> {
    key: &'a str,
    value: &'a str,
    total: u32,
    ready: u32,
}

/// `summary`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Summary<'a> {
    total: u32,
    ready: u32,
    unschedulable: u32,
    topology: Vec<TopologyCount<'a>>,
}

/// `request`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Request<'a> {
    service: Service<'a>,
    summary: Summary<'a>,
    nodes: Vec<Node<'a>>,
    extra: Vec<Pair<'a>>,
}

/// `verdict`.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Verdict {
    #[component(name = "use-default")]
    UseDefault,
    #[component(name = "eligible")]
    Eligible(u32),
    #[component(name = "draining")]
    Draining(String),
    #[component(name = "ineligible")]
    Ineligible(String),
}

/// `node-decision`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct NodeDecision {
    verdict: Verdict,
    note: Option<String>,
    extra: Vec<OwnedPair>,
}

/// `response`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Response {
    nodes: Vec<NodeDecision>,
    extra: Vec<OwnedPair>,
}

impl<'a> From<&'a NodesQuestion> for Request<'a> {
    fn from(question: &'a NodesQuestion) -> Self {
        let summary = &question.summary;
        Self {
            service: (&question.service).into(),
            summary: Summary {
                total: summary.total,
                ready: summary.ready,
                unschedulable: summary.unschedulable,
                topology: summary
                    .topology
                    .iter()
                    .map(|(key, value, total, ready)| TopologyCount {
                        key,
                        value,
                        total: *total,
                        ready: *ready,
                    })
                    .collect(),
            },
            nodes: question.nodes.iter().map(|node| Node::from(node.as_ref())).collect(),
            extra: Vec::new(),
        }
    }
}

impl Response {
    /// One answer per node of the question, checked against the contract.
    pub(crate) fn checked(self, question: &NodesQuestion) -> Result<Vec<Noted<GuestVerdict>>, GuestError> {
        no_extra("extra", &self.extra)?;
        let (given, wanted) = (self.nodes.len(), question.nodes.len());
        if given != wanted {
            return Err(invalid(
                "nodes",
                format!("{given} decisions; one for each of the {wanted} nodes is right"),
            ));
        }
        self.nodes.into_iter().enumerate().map(|(index, decision)| decision.checked(index)).collect()
    }
}

impl NodeDecision {
    fn checked(self, index: usize) -> Result<Noted<GuestVerdict>, GuestError> {
        let path = |field: &str| format!("nodes[{index}].{field}");
        no_extra(&path("extra"), &self.extra)?;
        let answer = match self.verdict {
            Verdict::UseDefault => None,
            Verdict::Eligible(weight) => Some(GuestVerdict::Eligible(weight)),
            Verdict::Draining(reason) => {
                Some(GuestVerdict::Draining(text(&path("verdict.draining"), &reason)?))
            }
            Verdict::Ineligible(reason) => {
                Some(GuestVerdict::Ineligible(text(&path("verdict.ineligible"), &reason)?))
            }
        };
        Ok(Noted { answer, note: note(&path("note"), self.note.as_ref())? })
    }
}
