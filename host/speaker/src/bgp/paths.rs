//! The paths to the peers, as BFD sees them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bellhop_bgp::{Input, Path};
use bellhop_net::tcp;
use bellhop_runtime::http::Heartbeat;
use tokio::sync::watch;

use super::session::Session;
use super::{PeerBfd, PeerConfig, SessionName};
use crate::bfd::{BfdHandle, PathStatus, Paths, Target, session_config};

/// The BFD thread, from when the first peer asks for it.
pub(super) struct Watching {
    bfd: Option<BfdHandle>,
    /// The thread's, until it starts.
    heartbeat: Option<Heartbeat>,
    targets: BTreeMap<SessionName, Target>,
}

impl Watching {
    pub(super) fn new(heartbeat: Option<Heartbeat>) -> Self {
        Self { bfd: None, heartbeat, targets: BTreeMap::new() }
    }

    /// Watches the paths that these sessions ask for.
    pub(super) fn configure<'a>(&mut self, sessions: impl Iterator<Item = &'a Session>, seed: u64) {
        let targets = sessions.filter_map(|session| Some((session.name.clone(), target(session)?)));
        let targets: BTreeMap<SessionName, Target> = targets.collect();
        if self.targets == targets {
            return;
        }
        if self.bfd.is_none() {
            match BfdHandle::start(seed, self.heartbeat.take()) {
                Ok(handle) => self.bfd = Some(handle),
                Err(error) => return tracing::error!(%error, "starting BFD"),
            }
        }
        if let Some(bfd) = &self.bfd {
            bfd.configure(targets.clone());
            self.targets = targets;
        }
    }

    /// What is known of the paths, as it changes; `None` before anybody asked for BFD.
    pub(super) fn subscribe(&self) -> Option<watch::Receiver<Paths>> {
        self.bfd.as_ref().map(BfdHandle::subscribe)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Nobody asked for BFD: its thread has not ended, it never began.
        self.heartbeat.iter().for_each(Heartbeat::retire);
    }
}

fn target(session: &Session) -> Option<Target> {
    let (peer, remote) = (&session.config, session.remote?);
    let profile = peer.bfd.as_ref()?.profile.as_ref()?;
    Some(Target {
        remote,
        local: peer.source_address,
        interface: session.interface().cloned(),
        config: session_config(profile, is_one_hop(peer, remote)),
    })
}

/// RFC 5881 or RFC 5883: an external peer is on the link unless it says otherwise, an internal one where its address is in a network
/// of the node.
fn is_one_hop(peer: &PeerConfig, remote: IpAddr) -> bool {
    match (peer.ttl_security, peer.ebgp_multihop) {
        (Some(hops), _) => hops == 1,
        (None, Some(_)) => false,
        (None, None) if peer.peer_asn.is_internal(peer.local_asn) => tcp::is_on_link(remote).unwrap_or(true),
        (None, None) => true,
    }
}

/// What a session is to be told, where `before` was known of its path.
pub(super) fn inputs(before: Option<&PathStatus>, now: Option<&PathStatus>) -> Vec<Input<'static>> {
    let failures = |status: Option<&PathStatus>| status.map_or(0, |status| status.failures);
    let path = |status: Option<&PathStatus>| status.map_or(Path::Unknown, |status| status.path);
    let mut inputs = Vec::new();
    // Lost, and up again before anybody looked.
    if failures(now) > failures(before) && path(now) != Path::Down {
        inputs.push(Input::Bfd(Path::Down));
    }
    if path(now) != path(before) || !inputs.is_empty() {
        inputs.push(Input::Bfd(path(now)));
    }
    inputs
}

/// Why no session may be opened before BFD says that the path is up; `None` where that is not asked for, or it is.
pub(super) fn strict_wait(bfd: Option<&PeerBfd>, path: Option<&PathStatus>) -> Option<String> {
    let bfd = bfd.filter(|bfd| bfd.strict)?;
    let path = path.filter(|_| bfd.profile.is_some());
    if matches!(path.map(|path| path.path), Some(Path::Up | Path::AdminDown)) {
        return None;
    }
    let why = match (&bfd.profile, path.and_then(|path| path.reason.as_deref())) {
        (None, _) => "its BFDProfile does not exist",
        (Some(_), Some(reason)) => reason,
        (Some(_), None) => "the path is not up yet",
    };
    Some(format!("waits for BFD: {why}"))
}

/// The next change of the paths; never where there are none.
pub(super) async fn changed(paths: &mut Option<watch::Receiver<Paths>>) -> Paths {
    if let Some(paths) = paths
        && paths.changed().await.is_ok()
    {
        return Arc::clone(&paths.borrow_and_update());
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(path: Path, failures: u64) -> PathStatus {
        PathStatus { path, failures, ..PathStatus::default() }
    }

    #[test]
    fn a_loss_that_was_over_before_anybody_looked_is_told_all_the_same() {
        let said = |before: Option<PathStatus>, now: Option<PathStatus>| {
            let inputs = inputs(before.as_ref(), now.as_ref());
            let paths = inputs.iter().map(|input| match input {
                Input::Bfd(path) => *path,
                other => panic!("{other:?}"),
            });
            paths.collect::<Vec<_>>()
        };
        let (up, down) = (Path::Up, Path::Down);
        assert_eq!(said(None, Some(status(up, 0))), [up]);
        assert_eq!(said(Some(status(up, 0)), Some(status(up, 0))), []);
        assert_eq!(said(Some(status(up, 0)), Some(status(down, 1))), [down]);
        assert_eq!(said(Some(status(up, 0)), Some(status(up, 1))), [down, up]);
        assert_eq!(said(Some(status(up, 1)), Some(status(Path::AdminDown, 1))), [Path::AdminDown]);
        assert_eq!(said(Some(status(up, 1)), None), [Path::Unknown]);
    }
}
