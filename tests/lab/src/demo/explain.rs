//! Step 8: the tools.

use anyhow::Result;
use serde_json::Value;

use super::plugins::{ADDRESS_POLICY, NODES_POLICY, ROUTE_POLICY};
use super::{Demo, WEB};
use crate::plan::{Node, Router};

impl Demo {
    /// Step 8: `explain`, `status` and `routes`, as tables and as JSON.
    ///
    /// # Errors
    /// With the check that failed.
    pub fn the_tools_tell_why(&mut self) -> Result<()> {
        self.transcript.step(8, "bellhop explain, status and routes tell why");
        let node = Node::ALL[0];
        let object = format!("service/{}/{}", WEB.namespace, WEB.name);

        self.transcript.act(format_args!("bellhop explain {object}"));
        let text = self.bellhop.tool(node, &["explain", &object])?;
        self.transcript.quote(&text);
        let [ipv4, ipv6] = WEB.addresses().map(|address| address.to_string());
        let named = [
            ("the pool considered", "public"),
            ("the address policy asked", ADDRESS_POLICY),
            ("the nodes policy asked", NODES_POLICY),
            ("the route policy asked", ROUTE_POLICY),
            ("what router-a gets", Router::A.name()),
            ("what router-b gets", Router::B.name()),
            ("the IPv4 address", &ipv4),
            ("the IPv6 address", &ipv6),
        ];
        self.names_all("explain", &text, &named)?;
        let json = self.bellhop.tool_json(node, &["explain", &object])?;
        self.transcript.that(
            "explain -o json says the same, field by field",
            explains(&json).is_ok(),
            explains(&json).err().unwrap_or_default(),
        )?;

        self.transcript.act("bellhop routes");
        let text = self.bellhop.tool(node, &["routes"])?;
        self.transcript.quote(&text);
        self.names_all(
            "routes",
            &text,
            &[
                ("a peer", Router::A.name()),
                ("its IPv4 route", &format!("{ipv4}/32")),
                ("its IPv6 route", &format!("{ipv6}/128")),
            ],
        )?;
        let rows = self.bellhop.tool_json(node, &["routes"])?;
        let sent = rows
            .as_array()
            .is_some_and(|rows| !rows.is_empty() && rows.iter().all(|row| row["sent"] == true));
        self.transcript.that("routes -o json says that all are sent", sent, &rows)?;

        self.transcript.act("bellhop status");
        let text = self.bellhop.tool(node, &["status"])?;
        self.transcript.quote(&text);
        let status = self.bellhop.status(node)?;
        let up = status.phase == "Ready"
            && status.peers.len() == Router::ALL.len()
            && status.peers.iter().all(|peer| peer.state == "Established" && peer.sent == peer.wanted);
        self.transcript.that(
            "status -o json: ready, both sessions up, all routes sent",
            up,
            format_args!("{status:?}"),
        )?;
        let active = status.policies.iter().filter(|policy| policy.step == "Active").count();
        self.transcript.equal("status -o json: three policies active", &3, &active)?;
        Ok(())
    }

    fn names_all(&mut self, tool: &str, text: &str, named: &[(&str, &str)]) -> Result<()> {
        let missing: Vec<_> = named.iter().filter(|(_, word)| !text.contains(word)).collect();
        let all: Vec<_> = named.iter().map(|(what, _)| *what).collect();
        let what = format!("{tool} tells {}", all.join(", "));
        self.transcript.that(&what, missing.is_empty(), format_args!("not named: {missing:?}"))?;
        Ok(())
    }
}

/// Looks for everything that an explanation of [`WEB`] owes its reader; what is missing otherwise.
fn explains(json: &Value) -> Result<(), String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let asked = |consulted: &Value, policy: &str| {
        let by =
            |one: &Value| one["policy"] == policy && one["outcome"] == "Decided" && one["note"].is_string();
        list(consulted).iter().any(by)
    };
    if (&json["namespace"], &json["name"]) != (&WEB.namespace.into(), &WEB.name.into()) {
        return Err(format!("it is about {}/{}", json["namespace"], json["name"]));
    }
    if !asked(&json["allocation"]["policies"], ADDRESS_POLICY) {
        return Err(format!("{ADDRESS_POLICY} did not decide: {}", json["allocation"]));
    }
    let nodes = list(&json["nodes"]);
    let asked_of_all =
        nodes.iter().all(|node| list(&node["policies"]).iter().any(|one| one["policy"] == NODES_POLICY));
    if nodes.len() != Node::ALL.len() || !asked_of_all {
        return Err(format!("{NODES_POLICY} was not asked for every node: {}", json["nodes"]));
    }
    for address in WEB.addresses() {
        let address = address.to_string();
        let addresses = list(&json["addresses"]);
        let entry = addresses.iter().find(|entry| entry["address"] == address.as_str());
        for router in Router::ALL {
            let peers = entry.map(|entry| list(&entry["peers"])).unwrap_or_default();
            let peer = peers.iter().find(|peer| peer["peer"] == router.name());
            if !peer
                .is_some_and(|peer| peer["attributes"].is_object() && asked(&peer["policies"], ROUTE_POLICY))
            {
                return Err(format!(
                    "{ROUTE_POLICY} did not decide {address} for {}: {entry:?}",
                    router.name()
                ));
            }
        }
    }
    Ok(())
}
