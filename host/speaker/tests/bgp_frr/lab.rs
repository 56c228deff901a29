//! Two namespaces with one link, and FRR in one of them.

use std::future::Future;

pub(crate) use crate::frr_lab::Frr as Inside;
pub(crate) use crate::netns::{ROUTER, SPEAKER, run, until};
pub(crate) use crate::speaker::{PEER, config, established, peer};
use crate::{frr_lab, netns};

/// Runs `body` in the speaker's namespace of a new lab whose router has this AS number.
pub(crate) fn in_lab<F: Future<Output = ()>>(test: &str, asn: u32, body: impl FnOnce(Inside) -> F) {
    netns::in_lab(test, |site| body(Inside::start(&site, &frr_lab::bgpd_conf(asn, &[]))));
}
