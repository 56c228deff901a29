//! A real Kubernetes cluster in network namespaces, for the end-to-end tests.
//!
//! [`Cluster::up`] brings one up by the scripts beside this crate and removes it when it is dropped. It is what
//! `make cluster` brings up too; docs/contributing/test-cluster.md describes it. The crate knows nothing of Bellhop: tests install it
//! as a user would, look from outside, and break things.
//!
//! ```text
//! test ── kubectl, helm, apply ──> 127.0.0.1:port ──> cp: kube-apiserver …
//!   ├──── get, load ──> client ── router (FRR) ═╦═ cp
//!   └──── kill, boot, freeze, cut ──────────────╩═ node-1 … node-3: kubelet, containerd, kube-proxy, pods
//! ```
//!
//! [`Cluster`] has its methods in four files by what they are about: coming up and going down ([`cluster`]), the API ([`api`]),
//! machines and how they fail ([`machine`]), router and client ([`network`]). Nodes, FRR, observation, load and waiting are the lab's, whose
//! addresses the cluster shares: [`Node`], [`bellhop_lab::observe`], [`bellhop_lab::load`], [`wait_for`].

#![forbid(unsafe_code)]

pub mod api;
pub mod cluster;
pub mod machine;
pub mod network;

pub use bellhop_lab::Node;
pub use bellhop_lab::wait::wait_for;
pub use cluster::{Cluster, Mode, Options};
pub use machine::{Cut, Machine, Program};
