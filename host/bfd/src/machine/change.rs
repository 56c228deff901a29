//! A change of a session's state, and what it means to a client.

use std::fmt;
use std::time::Duration;

use crate::wire::{Diagnostic, State};

/// A session's state changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateChange {
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// What changed it.
    pub cause: Cause,
    /// What the neighbour is told of it (`bfd.LocalDiag`).
    pub diagnostic: Diagnostic,
    /// The diagnostic in the neighbour's last packet: why *it* last left a state. None where it is not known.
    pub remote_diagnostic: Diagnostic,
}

impl StateChange {
    /// The path or the neighbour failed: what a routing protocol must act upon. Not so where the session was taken down
    /// administratively, here or there, as that says nothing of the path (RFC 5882 §3.2, §4.2), and not where it was
    /// not up.
    pub fn is_failure(&self) -> bool {
        self.from == State::Up && self.cause.is_failure()
    }
}

impl fmt::Display for StateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}: {}", self.from, self.to, self.cause)?;
        match self.remote_diagnostic {
            Diagnostic::NoDiagnostic => Ok(()),
            diagnostic => write!(f, " (the neighbour's diagnostic: {diagnostic})"),
        }
    }
}

/// What changed a session's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The three-way handshake went on (RFC 5880 §6.2).
    Handshake,
    /// The neighbour was not heard for the detection time (RFC 5880 §6.8.4).
    DetectionExpired {
        /// How long past the deadline the driver came: the part of the silence that is its own.
        late: Duration,
    },
    /// The neighbour says that its session is down.
    RemoteDown,
    /// The neighbour says that its session is administratively down: no failure (RFC 5882 §4.2).
    RemoteAdminDown,
    /// [`Input::Disable`](crate::Input::Disable).
    Disabled,
    /// [`Input::Enable`](crate::Input::Enable).
    Enabled,
    /// [`Input::PathDown`](crate::Input::PathDown).
    PathDown,
    /// [`Input::Forget`](crate::Input::Forget).
    Forgotten,
}

impl Cause {
    /// Every category.
    pub const CATEGORIES: [&'static str; 8] = [
        "handshake",
        "detection_expired",
        "remote_down",
        "remote_admin_down",
        "disabled",
        "enabled",
        "path_down",
        "forgotten",
    ];

    /// A label from a closed set, for metrics and conditions.
    pub const fn category(self) -> &'static str {
        let index = match self {
            Self::Handshake => 0,
            Self::DetectionExpired { .. } => 1,
            Self::RemoteDown => 2,
            Self::RemoteAdminDown => 3,
            Self::Disabled => 4,
            Self::Enabled => 5,
            Self::PathDown => 6,
            Self::Forgotten => 7,
        };
        Self::CATEGORIES[index]
    }

    /// It says that the path or the neighbour failed.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::DetectionExpired { .. } | Self::RemoteDown | Self::PathDown)
    }

    /// What the neighbour is told (RFC 5880 §4.1). Why the session last failed stays told until it is up again; `None`
    /// leaves it as it is.
    pub(super) const fn diagnostic(self, to: State) -> Option<Diagnostic> {
        match self {
            Self::Handshake if matches!(to, State::Up) => Some(Diagnostic::NoDiagnostic),
            Self::Handshake => None,
            Self::DetectionExpired { .. } => Some(Diagnostic::DetectionTimeExpired),
            Self::RemoteDown | Self::RemoteAdminDown => Some(Diagnostic::NeighborSignaledDown),
            Self::Disabled => Some(Diagnostic::AdministrativelyDown),
            Self::PathDown => Some(Diagnostic::PathDown),
            Self::Enabled | Self::Forgotten => Some(Diagnostic::NoDiagnostic),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "the neighbour is heard",
            Self::DetectionExpired { late: Duration::ZERO } => "nothing was received for the detection time",
            Self::DetectionExpired { late } => {
                return write!(f, "nothing was received for the detection time and {late:?} more");
            }
            Self::RemoteDown => "the neighbour says that the session is down",
            Self::RemoteAdminDown => "the neighbour took the session down administratively",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::PathDown => "the path is down",
            Self::Forgotten => "the neighbour was forgotten",
        })
    }
}
