//! The controller: allocates addresses by creating AddressClaims, writes status, moves rollouts of policies.

#![forbid(unsafe_code)]
