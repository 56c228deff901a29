//! The `route` hook.

use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::decision::{Consulted, Decided, RouteDecision, RouteRequest};
use bellhop_core::names::ObjectName;
use bellhop_core::objects::Hook;
use bellhop_core::route::{Family, RouteAttributes};

use super::version::{Asked, HookKind, Place, Tally, Unit};
use super::{End, Trail};
use crate::guest::{Guest, GuestError, GuestRoute, NodeView, Noted, PeerView, RouteQuestion, ServiceView};
use crate::intern::{Interned, Names};
use crate::projection::{Match, Projector};
use crate::runner::{self, Runner};
use crate::validate;

/// With which attributes.
pub(crate) struct RouteHook;

/// The identity of a `route` question: equal keys are equal questions.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct RouteKey {
    service: u64,
    node: u64,
    peer: u64,
    defaults: u64,
    family: Family,
    address: Option<IpAddr>,
    pool: Option<ObjectName>,
}

/// What the plugin is shown.
pub(crate) struct RouteShown {
    service: Arc<ServiceView>,
    node: Arc<NodeView>,
    peer: Arc<PeerView>,
    defaults: Arc<RouteAttributes>,
    family: Family,
    address: Option<IpAddr>,
    pool: Option<ObjectName>,
}

/// A checked answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum RouteAnswer {
    Advertise {
        attributes: Arc<RouteAttributes>,
        /// The same without local preference, where it has one: what an external peer gets.
        external: Option<Arc<RouteAttributes>>,
    },
    Withhold(Arc<str>),
}

impl HookKind for RouteHook {
    const HOOK: Hook = Hook::Route;
    type Request = RouteRequest;
    type Key = RouteKey;
    type Shown = RouteShown;
    type Answer = RouteAnswer;

    fn matches(selects: &Match, request: &RouteRequest, _part: usize) -> bool {
        selects.service(&request.service) && selects.node(&request.node.node) && selects.peer(&request.peer)
    }

    fn project(
        projector: &mut Projector,
        batch: &[RouteRequest],
        units: &[Unit],
        names: &mut Names,
    ) -> Vec<Option<Asked<Self>>> {
        units.iter().map(|&(index, _)| project(projector, &batch[index], names)).collect()
    }

    fn call(
        guest: &dyn Guest,
        runner: &dyn Runner,
        questions: &[&RouteShown],
        tally: &mut Tally<'_>,
    ) -> Vec<Result<Noted<RouteAnswer>, GuestError>> {
        let called =
            runner::collect(runner, questions.len(), |index| guest.route(&questions[index].question()));
        questions
            .iter()
            .zip(called)
            .map(|(shown, called)| {
                let noted = tally.take(called)?;
                let answer = match noted.answer {
                    None => None,
                    Some(answer) => {
                        Some(checked(shown.family, answer).map_err(|error| tally.refused(error))?)
                    }
                };
                Ok(Noted { answer, note: noted.note })
            })
            .collect()
    }
}

fn project(projector: &mut Projector, request: &RouteRequest, names: &mut Names) -> Option<Asked<RouteHook>> {
    let service = projector.service(&request.service, names);
    let node = projector.node(&request.node, names);
    let peer = projector.peer(&request.peer, request.local_asn, names);
    if !(service.matched && node.matched && peer.matched) {
        return None;
    }
    let Interned { id: defaults_id, value: defaults } = projector.attributes(&request.defaults);
    let family = Family::of(request.address);
    let address = projector.inputs().address.then_some(request.address);
    let pool = if projector.inputs().pool { request.pool.clone() } else { None };
    Some(Asked {
        key: RouteKey {
            service: service.view.id,
            node: node.view.id,
            peer: peer.view.id,
            defaults: defaults_id,
            family,
            address,
            pool: pool.clone(),
        },
        place: Place {
            service: service.place,
            node: node.place,
            peer: peer.place,
            address: Some(request.address),
        },
        namespace: request.service.service.key.namespace.clone(),
        shown: RouteShown {
            service: service.view.value,
            node: node.view.value,
            peer: peer.view.value,
            defaults,
            family,
            address,
            pool,
        },
    })
}

impl RouteShown {
    fn question(&self) -> RouteQuestion {
        RouteQuestion {
            service: self.service.clone(),
            family: self.family,
            address: self.address,
            pool: self.pool.clone(),
            node: self.node.clone(),
            peer: self.peer.clone(),
            defaults: self.defaults.clone(),
        }
    }
}

fn checked(family: Family, answer: GuestRoute) -> Result<RouteAnswer, GuestError> {
    match answer {
        GuestRoute::Withhold(reason) => Ok(RouteAnswer::Withhold(validate::note(&reason))),
        GuestRoute::Advertise(attributes) => {
            let attributes = validate::attributes(family, attributes)?;
            let external = attributes
                .local_preference
                .is_some()
                .then(|| Arc::new(RouteAttributes { local_preference: None, ..attributes.clone() }));
            Ok(RouteAnswer::Advertise { attributes: Arc::new(attributes), external })
        }
    }
}

/// Where the chain ended, as a decision for this request's peer.
pub(super) fn decided(
    request: &RouteRequest,
    end: End<RouteAnswer>,
    trail: Trail,
    no_trail: &Arc<[Consulted]>,
) -> Decided<RouteDecision> {
    let trail = trail.finish(no_trail);
    let entry = match end {
        End::Default => {
            return Decided { answer: RouteDecision::Advertise(request.defaults.clone()), trail };
        }
        End::Withhold(reason) => return Decided { answer: RouteDecision::Withhold(reason), trail },
        End::Answer(entry) => entry,
    };
    match &entry.result {
        Ok(Some(RouteAnswer::Withhold(reason))) => {
            Decided { answer: RouteDecision::Withhold(reason.clone()), trail }
        }
        Ok(Some(RouteAnswer::Advertise { attributes, external })) => match external {
            Some(external) if !request.peer.asn.is_internal(request.local_asn) => Decided {
                answer: RouteDecision::Advertise(external.clone()),
                trail: without_local_preference(&trail, attributes.local_preference),
            },
            _ => Decided { answer: RouteDecision::Advertise(attributes.clone()), trail },
        },
        _ => Decided { answer: RouteDecision::Advertise(request.defaults.clone()), trail },
    }
}

/// The trail, its last entry saying that the local preference is not sent.
fn without_local_preference(trail: &Arc<[Consulted]>, dropped: Option<u32>) -> Arc<[Consulted]> {
    let mut trail: Vec<Consulted> = trail.to_vec();
    if let (Some(last), Some(dropped)) = (trail.last_mut(), dropped) {
        let dropped = format!("local preference {dropped} is not sent to an external peer");
        last.note = Some(match &last.note {
            Some(note) => format!("{note}; {dropped}").into(),
            None => dropped.into(),
        });
    }
    trail.into()
}
