//! The image as one tar file in the layout of the OCI image specification 1.1 ("OCI Image Layout"), which
//! `ctr images import`, `docker load` (25 and later), `podman load` and `skopeo copy oci-archive:` read.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::sha256;
use super::tree::Tree;

/// Compression of layers. zstd at 9 packs our programs about as well as gzip at its best, in a tenth of its time.
const ZSTD_LEVEL: i32 = 9;

/// Prefix of the media types.
const OCI: &str = "application/vnd.oci.image";

/// An image of one architecture.
pub(super) struct Image<'a> {
    /// Its full name, with the tag.
    pub(super) name: &'a str,
    /// Its tag.
    pub(super) tag: &'a str,
    /// Version of the programs in it.
    pub(super) version: &'a str,
    /// Architecture as Go and OCI call it.
    pub(super) architecture: &'static str,
    /// Labels beside the standard ones.
    pub(super) labels: BTreeMap<String, String>,
    /// Uncompressed tar files, the lowest first.
    pub(super) layers: Vec<Vec<u8>>,
}

/// The blobs of an image, by digest.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Adds a blob; what comes back is its descriptor.
    fn add(&mut self, media_type: String, bytes: Vec<u8>) -> Value {
        let digest = sha256(&bytes);
        let descriptor =
            json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()});
        self.0.insert(digest, bytes);
        descriptor
    }
}

impl Image<'_> {
    /// The tar file, and the digest by which the image can be named.
    pub(super) fn to_tar(&self) -> Result<(Vec<u8>, String)> {
        let mut blobs = Blobs::default();
        let mut layers = Vec::new();
        for layer in &self.layers {
            let packed = zstd::bulk::compress(layer, ZSTD_LEVEL).context("compress a layer")?;
            layers.push(blobs.add(format!("{OCI}.layer.v1.tar+zstd"), packed));
        }
        let config = blobs.add(format!("{OCI}.config.v1+json"), serde_json::to_vec(&self.config())?);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": format!("{OCI}.manifest.v1+json"),
            "config": config,
            "layers": layers,
        });
        let mut manifest = blobs.add(format!("{OCI}.manifest.v1+json"), serde_json::to_vec(&manifest)?);
        let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
        manifest["annotations"] = json!({
            // The name that containerd imports it under, and the one that everyone else reads.
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.tag,
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": format!("{OCI}.index.v1+json"),
            "manifests": [manifest],
        });
        let mut tree = Tree::default();
        tree.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        tree.file("index.json", serde_json::to_vec(&index)?);
        for (digest, bytes) in blobs.0 {
            tree.file(&format!("blobs/sha256/{digest}"), bytes);
        }
        Ok((tree.to_tar()?, digest))
    }

    fn config(&self) -> Value {
        let mut labels = self.labels.clone();
        for (key, value) in [
            ("title", "bellhop"),
            ("description", "A load balancer for Kubernetes Services on bare metal"),
            ("version", self.version),
            ("licenses", env!("CARGO_PKG_LICENSE")),
        ] {
            labels.insert(format!("org.opencontainers.image.{key}"), value.to_owned());
        }
        json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": self.architecture,
            "os": "linux",
            "config": {
                "User": format!("{0}:{0}", super::NOBODY),
                "Entrypoint": ["/usr/bin/bellhop"],
                "Env": ["PATH=/usr/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
                "WorkingDir": "/",
                "Labels": labels,
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": self.layers.iter().map(|tar| format!("sha256:{}", sha256(tar))).collect::<Vec<_>>(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn image() -> Image<'static> {
        let mut tree = Tree::default();
        tree.file("etc/passwd", "root:x:0:0::/:/nonexistent\n");
        Image {
            name: "localhost/bellhop:dev",
            tag: "dev",
            version: "0.1.0",
            architecture: "amd64",
            labels: BTreeMap::from([("dev.bellhop.package.libc6".to_owned(), "2.36".to_owned())]),
            layers: vec![tree.to_tar().unwrap()],
        }
    }

    fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(bytes).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(path, content);
        }
        files
    }

    #[test]
    fn every_descriptor_leads_to_the_blob_whose_digest_and_size_it_states() {
        let (bytes, digest) = image().to_tar().unwrap();
        let files = files(&bytes);
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = &files[&format!("blobs/sha256/{digest}")];
            assert_eq!(sha256(bytes), digest);
            assert_eq!(descriptor["size"].as_u64().unwrap(), bytes.len() as u64);
            bytes.clone()
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(index["manifests"][0]["digest"], digest.as_str());
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        assert_eq!(config["config"]["Labels"]["dev.bellhop.package.libc6"], "2.36");
        let layer = zstd::decode_all(blob(&manifest["layers"][0]).as_slice()).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&layer)));
    }

    #[test]
    fn the_same_image_has_the_same_digest() {
        assert_eq!(image().to_tar().unwrap(), image().to_tar().unwrap());
    }
}
