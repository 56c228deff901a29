//! Whether the kernel answers ARP for Services' addresses: kube-proxy in IPVS mode binds them all on `kube-ipvs0` of
//! every node, and without strict ARP each node answers for each of them on the wire.

use std::path::Path;

use bellhop_core::{ObjectRef, Problem};

/// The interface of kube-proxy's IPVS mode.
const IPVS_INTERFACE: &str = "kube-ipvs0";

/// A problem of the node where kube-proxy's addresses would be answered on the wire. `settings` is
/// `/proc/sys/net/ipv4/conf`.
pub(super) fn problem(settings: &Path, node: &ObjectRef) -> Option<Problem> {
    if !settings.join(IPVS_INTERFACE).exists() {
        return None;
    }
    // What cannot be read is not known to be wrong.
    let value = |name: &str| {
        let text = std::fs::read_to_string(settings.join("all").join(name)).ok()?;
        text.trim().parse::<u8>().ok()
    };
    let (ignore, announce) = (value("arp_ignore")?, value("arp_announce")?);
    if ignore >= 1 && announce >= 2 {
        return None;
    }
    let message = "kube-proxy runs in IPVS mode without strict ARP, so that every node answers ARP for every Service's \
                   address; run kube-proxy with --ipvs-strict-arp (ipvs.strictARP: true), or set \
                   net.ipv4.conf.all.arp_ignore to 1 and net.ipv4.conf.all.arp_announce to 2";
    let value = format!("arp_ignore={ignore} arp_announce={announce}");
    Some(Problem::new(node.clone(), "StrictArpMissing", "", value, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(ipvs: bool, ignore: &str, announce: &str) -> Option<Problem> {
        let folder = tempfile::tempdir().unwrap();
        let all = folder.path().join("all");
        std::fs::create_dir(&all).unwrap();
        if ipvs {
            std::fs::create_dir(folder.path().join(IPVS_INTERFACE)).unwrap();
        }
        std::fs::write(all.join("arp_ignore"), ignore).unwrap();
        std::fs::write(all.join("arp_announce"), announce).unwrap();
        problem(folder.path(), &ObjectRef::cluster("Node", "node-1"))
    }

    #[test]
    fn ipvs_mode_without_strict_arp_is_said_with_what_to_set() {
        for (ignore, announce) in [("0\n", "0\n"), ("0\n", "2\n"), ("1\n", "1\n")] {
            let told = host(true, ignore, announce).unwrap().to_string();
            assert!(
                told.contains("--ipvs-strict-arp") && told.contains("arp_ignore=0") == (ignore == "0\n"),
                "{told}"
            );
        }
    }

    #[test]
    fn strict_arp_and_other_modes_are_in_order() {
        assert_eq!(host(true, "1\n", "2\n"), None);
        assert_eq!(host(true, "2\n", "2\n"), None);
        assert_eq!(host(false, "0\n", "0\n"), None);
    }
}
