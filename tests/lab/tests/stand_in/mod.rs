//! A node that announces without Bellhop: FRR's bgpd with `network` statements, so that the lab itself can be tested.

use std::net::IpAddr;
use std::process::Command;

use anyhow::Result;
use bellhop_lab::command::output_of;
use bellhop_lab::netns::kill;
use bellhop_lab::plan::CLUSTER_ASN;
use bellhop_lab::{Lab, Node, Router};

/// The address that every stand-in announces and serves.
pub(crate) const IPV4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 10));
/// Its IPv6 twin.
pub(crate) const IPV6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x10));

/// Binds the addresses on the node.
pub(crate) fn bind(lab: &Lab, node: Node) -> Result<()> {
    lab.node(node).ip_batch(&format!(
        "address add {IPV4}/32 dev lo scope host\naddress add {IPV6}/128 dev lo nodad preferred_lft 0"
    ))
}

/// Starts to announce, with these community words of FRR's `set community`.
pub(crate) fn announce(lab: &Lab, node: Node, communities: &str) -> Result<()> {
    let folder = lab.run().join(format!("stand-in-{}", node.name()));
    std::fs::create_dir_all(&folder)?;
    let mut text = format!(
        "route-map ATTRIBUTES permit 10
 set community {communities}
 set large-community {CLUSTER_ASN}:2:3
 set metric 50
 set ipv6 next-hop global {}
router bgp {CLUSTER_ASN}
 bgp router-id {}
 no bgp default ipv4-unicast
 no bgp network import-check
 no bgp ebgp-requires-policy
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
",
        node.ipv6(),
        node.ipv4()
    );
    for router in Router::ALL {
        text += &format!(" neighbor {} remote-as {}\n", router.ipv4(), router.asn());
    }
    for (family, prefix) in [("ipv4", format!("{IPV4}/32")), ("ipv6", format!("{IPV6}/128"))] {
        text += &format!(" address-family {family} unicast\n  network {prefix}\n");
        for router in Router::ALL {
            text +=
                &format!("  neighbor {0} activate\n  neighbor {0} route-map ATTRIBUTES out\n", router.ipv4());
        }
        text += " exit-address-family\n";
    }
    std::fs::write(folder.join("bgpd.conf"), text)?;
    output_of(Command::new("chown").args(["-R", "frr:frr"]).arg(&folder))?;
    let mut command = lab.node(node).command("/usr/lib/frr/bgpd");
    command.args(["-d", "-Z", "-u", "frr", "-g", "frr", "-P", "0"]);
    command.arg("-f").arg(folder.join("bgpd.conf")).arg("-i").arg(folder.join("bgpd.pid"));
    command.arg("--vty_socket").arg(&folder).arg("--log").arg(format!("file:{}/bgpd.log", folder.display()));
    output_of(&mut command).map(drop)
}

/// Ends the announcer without a word, as `kill -9` does.
pub(crate) fn kill_announcer(lab: &Lab, node: Node) -> Result<()> {
    let file = lab.run().join(format!("stand-in-{}/bgpd.pid", node.name()));
    let pid = std::fs::read_to_string(file)?.trim().parse()?;
    kill("KILL", &[pid]);
    Ok(())
}

/// Withdraws the IPv4 address.
pub(crate) fn withdraw_ipv4(lab: &Lab, node: Node) -> Result<()> {
    let folder = lab.run().join(format!("stand-in-{}", node.name()));
    let mut command = Command::new("vtysh");
    command.arg("--vty_socket").arg(folder);
    let network = format!("no network {IPV4}/32");
    let router = format!("router bgp {CLUSTER_ASN}");
    for line in ["configure terminal", &router, "address-family ipv4 unicast", &network] {
        command.args(["-c", line]);
    }
    output_of(&mut command).map(drop)
}
