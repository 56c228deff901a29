//! Policies under rollout.
pub struct Rollout;
pub struct PolicyStatus;
