//! A hostile guest: it gives one verdict, whatever the number of nodes. The SDK cannot be brought to do that, so it
//! implements the hook by the generated bindings.

use bellhop_policy::rt::bindings::exports::bellhop::{policy_base::lifecycle, policy_nodes::nodes};

/// One verdict.
pub struct WrongCount;

impl lifecycle::Guest for WrongCount {
    fn configure(_: String) -> Result<(), String> {
        Ok(())
    }
}

impl nodes::Guest for WrongCount {
    fn decide(_: nodes::Request) -> Result<nodes::Response, String> {
        let decision =
            nodes::NodeDecision { verdict: nodes::Verdict::Eligible(1), note: None, extra: Vec::new() };
        Ok(nodes::Response { nodes: vec![decision], extra: Vec::new() })
    }
}

#[allow(dead_code, reason = "natively nothing reads it")]
const METADATA: &[u8] = br#"{"name":"wrong-count","version":"0.1.0","sdk":"none","hooks":["Nodes"]}"#;

#[cfg(target_arch = "wasm32")]
const _: () = {
    #[allow(dead_code, reason = "the linker reads it")]
    #[unsafe(link_section = "bellhop:policy")]
    static SECTION: [u8; METADATA.len()] = bellhop_policy::rt::array(METADATA);
};
bellhop_policy::__component_type!("component-type:bellhop:base", BASE_TYPE);
bellhop_policy::__component_type!("component-type:bellhop:nodes", NODES_TYPE);
#[cfg(target_arch = "wasm32")]
lifecycle::__export_bellhop_policy_base_lifecycle_0_1_0_cabi!(WrongCount with_types_in lifecycle);
#[cfg(target_arch = "wasm32")]
nodes::__export_bellhop_policy_nodes_nodes_0_1_0_cabi!(WrongCount with_types_in nodes);
