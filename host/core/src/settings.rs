//! What the SpeakerConfigs of a World come to for one node.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::names::ObjectName;
use crate::objects::{Node, SpeakerConfig};
use crate::world::World;

/// Settings of one node's speaker: the SpeakerConfigs that select it, merged field by field, the rest by default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpeakerSettings {
    /// AS number; `None` where no SpeakerConfig gives one, in which case only peers with a `localASN` can be dialled.
    pub asn: Option<u32>,
    /// BGP identifier (RFC 4271 §4.2, RFC 6286): configured, else the node's first IPv4 address, else a hash of its
    /// name. Never zero.
    pub router_id: Ipv4Addr,
    /// Port for passive peers.
    pub listen_port: u16,
    /// Addresses for passive peers; empty means all.
    pub listen_addresses: Vec<IpAddr>,
    /// Between GRACEFUL_SHUTDOWN and withdrawal.
    pub drain_wait: Duration,
    /// The SpeakerConfig that says so; `None` by default.
    pub drain_wait_of: Option<ObjectName>,
    /// Bind announced addresses on `lo`.
    pub bind_addresses: bool,
    /// Answer echo requests (ping) to announced addresses.
    pub echo_reply: bool,
    /// Announce although the Node carries `node.kubernetes.io/exclude-from-external-load-balancers`.
    pub ignore_exclude_label: bool,
    /// Port of kube-proxy's `/livez` and `/healthz` on this node; `None` where it is not to be asked.
    pub proxy_health_port: Option<u16>,
}

impl SpeakerSettings {
    /// Long enough for routers to move traffic to other paths after a change of local preference.
    pub const DRAIN_WAIT: Duration = Duration::from_secs(10);
    /// Not 179, which a peer (Calico's BIRD, MetalLB's FRR) may hold on the same node.
    pub const LISTEN_PORT: u16 = 1179;
    /// The port of kube-proxy's `--healthz-bind-address` by default.
    pub const PROXY_HEALTH_PORT: u16 = 10256;

    /// The settings of `node`. `bind_by_default` is true in standalone form, where nothing else serves the address.
    pub fn of(world: &World, node: &Node, bind_by_default: bool) -> Self {
        let mut configs: Vec<&SpeakerConfig> = world
            .speaker_configs()
            .values()
            .filter(|config| {
                config.node_selector.as_ref().is_none_or(|selector| selector.matches(&node.labels))
            })
            .map(|config| &**config)
            .collect();
        configs.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        let configs = configs.as_slice();
        let bind_addresses = first(configs, |config| config.bind_addresses).unwrap_or(bind_by_default);
        Self {
            asn: first(configs, |config| config.asn),
            router_id: first(configs, |config| config.router_id).unwrap_or_else(|| derived_router_id(node)),
            listen_port: first(configs, |config| config.listen_port).unwrap_or(Self::LISTEN_PORT),
            listen_addresses: first(configs, |config| config.listen_addresses.clone()).unwrap_or_default(),
            drain_wait: first(configs, |config| config.drain_wait).unwrap_or(Self::DRAIN_WAIT),
            drain_wait_of: first(configs, |config| config.drain_wait.map(|_| config.name.clone())),
            bind_addresses,
            echo_reply: first(configs, |config| config.echo_reply).unwrap_or(bind_addresses),
            ignore_exclude_label: first(configs, |config| config.ignore_exclude_label).unwrap_or_default(),
            proxy_health_port: first(configs, |config| config.proxy_health).unwrap_or(true).then(|| {
                first(configs, |config| config.proxy_health_port).unwrap_or(Self::PROXY_HEALTH_PORT)
            }),
        }
    }
}

/// The field of the first configuration that gives it.
fn first<T>(configs: &[&SpeakerConfig], field: impl Fn(&SpeakerConfig) -> Option<T>) -> Option<T> {
    configs.iter().find_map(|config| field(config))
}

/// The node's first IPv4 address, else 32 bits of FNV-1a over its name, with the lowest bit set so that it is not 0.
fn derived_router_id(node: &Node) -> Ipv4Addr {
    let from_address = node.addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) if !address.is_unspecified() => Some(*address),
        _ => None,
    });
    from_address.unwrap_or_else(|| {
        let hash = node
            .name
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Ipv4Addr::from(hash | 1)
    })
}
