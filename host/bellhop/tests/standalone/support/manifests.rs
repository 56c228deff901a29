//! A watched folder, and the good manifests that every test starts from.

use std::fs;
use std::path::{Path, PathBuf};

/// A watched folder.
pub(crate) struct Manifests(PathBuf);

/// Everything that serves `shop/web`, but the Service and the pool.
const BASE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {zone: '7'}}
status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}
---
apiVersion: bellhop.dev/v1alpha1
kind: SpeakerConfig
metadata: {name: default}
spec: {asn: 64500, routerID: 192.0.2.11}
---
apiVersion: bellhop.dev/v1alpha1
kind: BGPPeer
metadata: {name: router-a}
spec: {peerAddress: 192.0.2.1, peerASN: 64496}
---
apiVersion: bellhop.dev/v1alpha1
kind: BGPPeer
metadata: {name: router-b}
spec: {peerAddress: 192.0.2.2, peerASN: 64500}
---
apiVersion: bellhop.dev/v1alpha1
kind: Advertisement
metadata: {name: everything}
spec: {}
";

const POOL: &str = "
apiVersion: bellhop.dev/v1alpha1
kind: AddressPool
metadata: {name: public}
spec: {addresses: [203.0.113.10-203.0.113.99, '2001:db8:53::10-2001:db8:53::ff']}
";

impl Manifests {
    /// An empty folder.
    pub(crate) fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).expect("the folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Node, peers, pool, and Service `shop/web` with endpoints of both families.
    pub(crate) fn write_good(&self) {
        self.write("base.yaml", BASE);
        self.write("pool.yaml", POOL);
        self.write("web.yaml", service("web", "ipFamilyPolicy: RequireDualStack", ""));
    }

    /// Puts a file in place at once, as `mv` does: never half of it is seen.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let temporary = self.0.join(format!(".{name}.new"));
        fs::write(&temporary, content).expect("a file is written");
        fs::rename(&temporary, self.0.join(name)).expect("a file is put in place");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).expect("a file is read")
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(name)).expect("a file is removed");
    }
}

/// A Service in namespace `shop` with an endpoint of each family on `node-1`; `spec` and `metadata` are added to it in
/// YAML's flow form.
pub(crate) fn service(name: &str, spec: &str, metadata: &str) -> String {
    let comma = |text: &str| if text.is_empty() { String::new() } else { format!(", {text}") };
    let slice = |family: &str, address: &str| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: {family}\n\
             metadata: {{namespace: shop, name: {name}-{}, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             endpoints: [{{addresses: ['{address}'], nodeName: node-1}}]\n",
            family.to_lowercase()
        )
    };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: {name}{}}}\n\
         spec: {{type: LoadBalancer, ports: [{{port: 80}}]{}}}\n{}{}",
        comma(metadata),
        comma(spec),
        slice("IPv4", "192.0.2.11"),
        slice("IPv6", "2001:db8::11"),
    )
}
