//! Step 8: the tools.

use anyhow::Result;

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
        let name = json.get("name").and_then(serde_json::Value::as_str).map(str::to_owned);
        self.transcript.equal(
            "explain -o json is about the same Service",
            &Some(WEB.name.to_owned()),
            &name,
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
        let what = format!("{tool} names {}", all.join(", "));
        self.transcript.that(&what, missing.is_empty(), format_args!("not named: {missing:?}"))?;
        Ok(())
    }
}
