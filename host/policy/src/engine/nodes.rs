//! The `nodes` hook: a chain that resolves per node, asked in bounded batches.

use std::collections::HashMap;
use std::sync::Arc;

use bellhop_core::decision::{ConsultOutcome, Consulted, Decided, NodeVerdict, NodesRequest};
use bellhop_core::objects::{Hook, Readiness};

use super::Trail;
use super::policy::{Context, Policy, Verdict};
use super::version::{Answered, Asked, HookKind, Place, Tally, Unit};
use crate::floor::{self, Kept, NodeStanding, READINESS_SHARE, Standing};
use crate::guest::{Guest, GuestError, GuestVerdict, NodeView, NodesQuestion, Noted, ServiceView, Summary};
use crate::intern::{Interned, Names};
use crate::projection::{self, Match, Projector};
use crate::runner::{self, Runner};
use crate::validate;

/// Most nodes per call, as the contract says.
pub(crate) const NODES_PER_CALL: usize = 256;

/// How often a batch that fails is halved although none of its nodes has been answered yet. A batch with an answer
/// anywhere is halved down to the nodes that fail, so that these cost no other node its verdict; one of which no
/// sixteenth is answered fails whole, at 31 calls instead of 511, as its module fails on everything.
const BLIND_HALVINGS: u32 = 4;

/// Which nodes.
pub(crate) struct NodesHook;

/// What the plugin is shown about one node.
#[derive(Clone)]
pub(crate) struct NodeShown {
    service: Interned<ServiceView>,
    summary: Interned<Summary>,
    node: Interned<NodeView>,
}

impl NodeShown {
    fn key(&self) -> (u64, u64, u64) {
        (self.service.id, self.summary.id, self.node.id)
    }
}

impl HookKind for NodesHook {
    const HOOK: Hook = Hook::Nodes;
    type Request = NodesRequest;
    type Key = (u64, u64, u64);
    type Shown = NodeShown;
    type Answer = GuestVerdict;

    fn matches(selects: &Match, request: &NodesRequest, _part: usize) -> bool {
        selects.service(&request.service)
    }

    fn project(
        projector: &mut Projector,
        batch: &[NodesRequest],
        units: &[Unit],
        names: &mut Names,
    ) -> Vec<Option<Asked<Self>>> {
        let mut last: Option<(usize, Interned<Summary>)> = None;
        units
            .iter()
            .map(|&(index, part)| {
                let request = &batch[index];
                let service = projector.service(&request.service, names);
                if !service.matched {
                    return None;
                }
                let summary = match &last {
                    Some((of, summary)) if *of == index => summary.clone(),
                    _ => {
                        let summary = projector.summary(request);
                        last = Some((index, summary.clone()));
                        summary
                    }
                };
                let node = projector.node(&request.nodes[part], names);
                let shown = NodeShown { service: service.view, summary, node: node.view };
                Some(Asked {
                    key: shown.key(),
                    place: Place { service: service.place, node: node.place, peer: 0, address: None },
                    namespace: request.service.service.key.namespace.clone(),
                    shown,
                })
            })
            .collect()
    }

    fn call(
        guest: &dyn Guest,
        runner: &dyn Runner,
        questions: &[&NodeShown],
        tally: &mut Tally<'_>,
    ) -> Vec<Result<Noted<GuestVerdict>, GuestError>> {
        let mut results: Vec<Option<Result<Noted<GuestVerdict>, GuestError>>> =
            questions.iter().map(|_| None).collect();
        let mut jobs = chunks(questions);
        let mut answered = vec![false; jobs.len()];
        let mut halvings = 0;
        while !jobs.is_empty() {
            let called = runner::collect(runner, jobs.len(), |job| {
                guest.nodes(&question(questions, &jobs[job].nodes))
            });
            let mut failed = Vec::new();
            for (job, called) in std::mem::take(&mut jobs).into_iter().zip(called) {
                match tally.take(called).and_then(|verdicts| counted(verdicts, job.nodes.len(), tally)) {
                    Ok(verdicts) => {
                        answered[job.chunk] = true;
                        for (index, verdict) in job.nodes.into_iter().zip(verdicts) {
                            results[index] = Some(Ok(trimmed(verdict)));
                        }
                    }
                    Err(error) => failed.push((job, error)),
                }
            }
            for (job, error) in failed {
                let hopeful = answered[job.chunk] || halvings < BLIND_HALVINGS;
                if job.nodes.len() > 1 && hopeful && halving_helps(&error) {
                    let (left, right) = job.nodes.split_at(job.nodes.len() / 2);
                    jobs.extend([left, right].map(|nodes| Job { chunk: job.chunk, nodes: nodes.to_vec() }));
                } else {
                    for index in job.nodes {
                        results[index] = Some(Err(error.clone()));
                    }
                }
            }
            halvings += 1;
        }
        results
            .into_iter()
            .map(|result| {
                result.unwrap_or_else(|| Err(GuestError::Infrastructure("the node was left out".into())))
            })
            .collect()
    }
}

/// One call: nodes of one Service, by the index of their question, and the chunk they were in first.
struct Job {
    chunk: usize,
    nodes: Vec<usize>,
}

/// Calls of at most [`NODES_PER_CALL`] nodes that share Service and summary.
fn chunks(questions: &[&NodeShown]) -> Vec<Job> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut by_question: HashMap<(u64, u64), usize> = HashMap::new();
    for (index, shown) in questions.iter().enumerate() {
        let group = *by_question.entry((shown.service.id, shown.summary.id)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(index);
    }
    let chunks = groups.iter().flat_map(|group| group.chunks(NODES_PER_CALL));
    chunks.enumerate().map(|(chunk, nodes)| Job { chunk, nodes: nodes.to_vec() }).collect()
}

fn question(questions: &[&NodeShown], nodes: &[usize]) -> NodesQuestion {
    let first = questions[nodes[0]];
    NodesQuestion {
        service: (*first.service.value).clone(),
        summary: (*first.summary.value).clone(),
        nodes: nodes.iter().map(|&index| questions[index].node.value.clone()).collect(),
    }
}

fn counted<T>(verdicts: Vec<T>, nodes: usize, tally: &mut Tally<'_>) -> Result<Vec<T>, GuestError> {
    if verdicts.len() == nodes {
        return Ok(verdicts);
    }
    Err(tally.refused(GuestError::InvalidAnswer {
        field: "nodes".into(),
        message: format!("{} verdicts for {nodes} nodes; one for each is needed", verdicts.len()),
    }))
}

/// False where every part of the batch must fail as the whole did.
fn halving_helps(error: &GuestError) -> bool {
    error.deterministic() && !matches!(error, GuestError::Config(_))
}

fn trimmed(verdict: Noted<GuestVerdict>) -> Noted<GuestVerdict> {
    let answer = verdict.answer.map(|answer| match answer {
        GuestVerdict::Eligible(weight) => GuestVerdict::Eligible(weight),
        GuestVerdict::Draining(reason) => GuestVerdict::Draining(validate::note(&reason)),
        GuestVerdict::Ineligible(reason) => GuestVerdict::Ineligible(validate::note(&reason)),
    });
    Noted { answer, note: verdict.note }
}

impl Policy<NodesHook> {
    /// For each unit whether the version in force would let the node announce if it were Ready.
    fn only_for_readiness(
        &mut self,
        batch: &[NodesRequest],
        units: &[Unit],
        context: &mut Context<'_>,
    ) -> Vec<bool> {
        let Some(version) = &mut self.current else { return vec![false; units.len()] };
        let mut asked = NodesHook::project(&mut version.projector, batch, units, context.names);
        for slot in &mut asked {
            let ready = slot.as_ref().and_then(|asked| projection::if_ready(&asked.shown.node.value));
            match (slot.as_mut(), ready) {
                (Some(asked), Some(view)) => {
                    asked.shown.node = version.projector.node_view(view);
                    asked.key = asked.shown.key();
                }
                _ => *slot = None,
            }
        }
        let mut tally = Tally {
            policy: &self.spec.name,
            counters: &mut self.counters,
            log: context.log,
            failures: context.failures,
        };
        let answers = version.answer(&asked, context.runner, context.now, &mut tally);
        answers
            .iter()
            .map(|answer| {
                matches!(answer, Answered::Entry(entry) if matches!(entry.result, Ok(None | Some(GuestVerdict::Eligible(_)))))
            })
            .collect()
    }
}

/// What one policy comes to for one node, before the floor.
struct Spoken {
    verdict: Option<NodeVerdict>,
    trail: Arc<[Consulted]>,
    /// It is the answer of the version in force to this very question.
    own: bool,
    /// The operator's choice for a failure; the floor does not lift it.
    withheld: bool,
}

impl Spoken {
    fn of(verdict: Verdict<GuestVerdict>) -> Option<Self> {
        let failed = |consulted, verdict, withheld| Self {
            verdict,
            trail: Arc::from([consulted]),
            own: false,
            withheld,
        };
        match verdict {
            Verdict::Skipped => None,
            Verdict::UseDefault(consulted) => Some(failed(consulted, None, false)),
            Verdict::Withhold(consulted) => {
                let reason = super::withheld(&consulted);
                Some(failed(consulted, Some(NodeVerdict::Ineligible(reason)), true))
            }
            Verdict::Spoke { entry, kept } => {
                let verdict = match &entry.result {
                    Ok(Some(GuestVerdict::Eligible(weight))) => Some(NodeVerdict::Eligible(*weight)),
                    Ok(Some(GuestVerdict::Draining(reason))) => Some(NodeVerdict::Draining(reason.clone())),
                    Ok(Some(GuestVerdict::Ineligible(reason))) => {
                        Some(NodeVerdict::Ineligible(reason.clone()))
                    }
                    _ => None,
                };
                let own = kept.is_none();
                let trail = kept.map_or_else(|| entry.trail.clone(), |consulted| Arc::from([consulted]));
                Some(Self { verdict, trail, own, withheld: false })
            }
        }
    }

    fn removes(&self) -> bool {
        matches!(self.verdict, Some(NodeVerdict::Draining(_) | NodeVerdict::Ineligible(_)))
    }

    /// Turns the verdict round and says so.
    fn keep(&mut self, why: Kept, min_eligible: u32) {
        let said = match &self.verdict {
            Some(NodeVerdict::Draining(reason)) => format!("draining: {reason}"),
            Some(NodeVerdict::Ineligible(reason)) => format!("ineligible: {reason}"),
            _ => return,
        };
        let rule = match why {
            Kept::MinEligible => format!("minEligible {}", min_eligible.max(1)),
            Kept::Readiness => {
                format!("the rule that readiness alone takes at most 1 in {READINESS_SHARE} nodes")
            }
        };
        let note = validate::note(&format!("kept eligible by {rule}; the policy said {said}"));
        let mut trail = self.trail.to_vec();
        if let Some(last) = trail.last_mut() {
            if last.outcome == ConsultOutcome::UseDefault {
                last.outcome = ConsultOutcome::Decided;
            }
            last.note = Some(note);
        }
        self.trail = trail.into();
        self.verdict = Some(NodeVerdict::DEFAULT);
    }
}

/// Asks the chain: per node the first policy that does not say `use-default` decides, and after each policy the floor
/// of [`crate::floor`] is put under what it says.
pub(super) fn ask_chain(
    chain: &mut [Policy<NodesHook>],
    batch: &[NodesRequest],
    context: &mut Context<'_>,
    no_trail: &Arc<[Consulted]>,
) -> Vec<Vec<Decided<NodeVerdict>>> {
    let mut decided: Vec<Vec<Option<NodeVerdict>>> =
        batch.iter().map(|request| vec![None; request.nodes.len()]).collect();
    let mut trails: Vec<Vec<Trail>> =
        batch.iter().map(|request| vec![Trail::Empty; request.nodes.len()]).collect();
    let mut lost_to_readiness = vec![0; batch.len()];
    for policy in chain {
        let open: Vec<Unit> = decided
            .iter()
            .enumerate()
            .flat_map(|(index, nodes)| {
                let open = nodes.iter().enumerate().filter(|(_, verdict)| verdict.is_none());
                open.map(move |(part, _)| (index, part))
            })
            .collect();
        if open.is_empty() {
            break;
        }
        let verdicts = policy.consult(batch, &open, context);
        let mut spoken: Vec<Vec<Option<Spoken>>> =
            batch.iter().map(|request| request.nodes.iter().map(|_| None).collect()).collect();
        for (&(index, part), verdict) in open.iter().zip(verdicts) {
            spoken[index][part] = Spoken::of(verdict);
        }
        put_floor(policy, batch, &decided, &mut spoken, &mut lost_to_readiness, context);
        for (index, nodes) in spoken.into_iter().enumerate() {
            for (part, spoken) in nodes.into_iter().enumerate() {
                if let Some(spoken) = spoken {
                    trails[index][part].push(&spoken.trail);
                    decided[index][part] = spoken.verdict;
                }
            }
        }
    }
    let finish = |(verdict, trail): (Option<NodeVerdict>, Trail)| Decided {
        answer: verdict.unwrap_or(NodeVerdict::DEFAULT),
        trail: trail.finish(no_trail),
    };
    decided
        .into_iter()
        .zip(trails)
        .map(|(verdicts, trails)| verdicts.into_iter().zip(trails).map(finish).collect())
        .collect()
}

fn put_floor(
    policy: &mut Policy<NodesHook>,
    batch: &[NodesRequest],
    decided: &[Vec<Option<NodeVerdict>>],
    spoken: &mut [Vec<Option<Spoken>>],
    lost_to_readiness: &mut [usize],
    context: &mut Context<'_>,
) {
    for (index, request) in batch.iter().enumerate() {
        let spoken = &mut spoken[index];
        if !spoken.iter().flatten().any(Spoken::removes) {
            continue;
        }
        let before = |part: usize| matches!(decided[index][part], None | Some(NodeVerdict::Eligible(_)));
        let can_announce = |part: usize| request.nodes[part].can_announce;
        let counting =
            floor::counting((0..request.nodes.len()).map(|part| (before(part), can_announce(part))));
        let suspects: Vec<Unit> = (0..request.nodes.len())
            .filter(|&part| request.nodes[part].node.ready != Readiness::Ready)
            .filter(|&part| before(part) && (can_announce(part) || counting.silent))
            .filter(|&part| spoken[part].as_ref().is_some_and(|spoken| spoken.own && spoken.removes()))
            .map(|part| (index, part))
            .collect();
        let mut readiness_alone = vec![false; request.nodes.len()];
        let suspected = suspects.len();
        let looked_into = suspected > floor::readiness_allowance(counting.nodes, lost_to_readiness[index]);
        if looked_into {
            let alone = policy.only_for_readiness(batch, &suspects, context);
            for ((_, part), alone) in suspects.into_iter().zip(alone) {
                readiness_alone[part] = alone;
            }
        }
        let standings: Vec<NodeStanding<'_>> = request
            .nodes
            .iter()
            .enumerate()
            .map(|(part, facts)| NodeStanding {
                node: &facts.node.name,
                ready: facts.node.ready,
                can_announce: facts.can_announce,
                before: before(part),
                after: standing(spoken[part].as_ref(), before(part)),
                readiness_alone: readiness_alone[part],
            })
            .collect();
        // Not every suspect was looked into where there are few; then all of them count, to be on the safe side.
        let min_eligible = policy.spec.min_eligible;
        let kept =
            floor::kept(&request.service.service.key, min_eligible, lost_to_readiness[index], &standings);
        let alone = readiness_alone.iter().filter(|alone| **alone).count();
        let kept_alone = kept.iter().filter(|(_, why)| *why == Kept::Readiness).count();
        lost_to_readiness[index] += if looked_into { alone - kept_alone } else { suspected };
        for (part, why) in kept {
            if let Some(spoken) = &mut spoken[part] {
                spoken.keep(why, min_eligible);
            }
        }
    }
}

fn standing(spoken: Option<&Spoken>, before: bool) -> Standing {
    match spoken.map(|spoken| (&spoken.verdict, spoken.withheld)) {
        _ if !before => Standing::Out,
        Some((_, true)) => Standing::Out,
        None | Some((None | Some(NodeVerdict::Eligible(_)), _)) => Standing::Eligible,
        Some((Some(NodeVerdict::Draining(_)), _)) => Standing::Draining,
        Some((Some(NodeVerdict::Ineligible(_)), _)) => Standing::Ineligible,
    }
}
