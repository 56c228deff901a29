//! The Debian packages of the image: fetched with the machine's apt, so signed and in the versions that it trusts.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::sha256;
use super::tree::Tree;
use crate::step::Session;

/// The packages; `gcc-12-base` has the licence of `libgcc-s1`.
const PACKAGES: &[&str] = &["ca-certificates", "libc6", "libgcc-s1", "gcc-12-base"];

/// Libraries that are taken out of them: the loaders of both architectures, what Rust's standard library links, and
/// what glibc's resolver opens. Everything else in these packages (character sets, locales, debugging) is left.
const LIBRARIES: &[&str] = &[
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libnss_dns.so.2",
    "libnss_files.so.2",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
];

/// Where the package has its certificates, one a file.
const CERTIFICATES: &str = "usr/share/ca-certificates/mozilla/";

/// Where programs look for all of them in one file. The package makes it when it is configured; here we do.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// One package.
struct Package {
    name: String,
    version: String,
    architecture: String,
    sha256: String,
    control: String,
    files: Tree,
    certificates: BTreeMap<String, Vec<u8>>,
}

/// All of them.
pub(super) struct Packages {
    /// Debian's name of the architecture.
    pub(super) architecture: String,
    packages: Vec<Package>,
}

impl Packages {
    /// Adds what was chosen of them, and a note of each for tools that look for known faults in images.
    pub(super) fn add_to(&self, tree: &mut Tree) -> Result<()> {
        let mut bundle = Vec::new();
        for package in &self.packages {
            tree.add(&package.files);
            tree.file(&format!("var/lib/dpkg/status.d/{}", package.name), package.control.as_str());
            for certificate in package.certificates.values() {
                bundle.extend_from_slice(certificate.trim_ascii_end());
                bundle.push(b'\n');
            }
        }
        if bundle.is_empty() {
            bail!("no certificate in {CERTIFICATES} of package ca-certificates");
        }
        tree.file(BUNDLE, bundle);
        Ok(())
    }

    /// Name, version and digest of each, as labels.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        self.packages
            .iter()
            .map(|package| {
                let key = format!("dev.bellhop.package.{}", package.name);
                (key, format!("{} sha256:{}", package.version, package.sha256))
            })
            .collect()
    }

    /// Name, version, architecture and digest of each, one a line.
    pub(super) fn list(&self) -> String {
        self.packages
            .iter()
            .map(|package| {
                format!("{} {} {} {}\n", package.name, package.version, package.architecture, package.sha256)
            })
            .collect()
    }
}

/// OCI's name for Debian's architecture.
pub(super) fn go_architecture(debian: &str) -> Result<&'static str> {
    match debian {
        "amd64" => Ok("amd64"),
        "arm64" => Ok("arm64"),
        other => bail!("images are made for amd64 and arm64, and this machine is {other}"),
    }
}

/// Fetches the packages into a folder of their own, emptied before, and reads them.
pub(super) fn fetch(session: &mut Session, folder: &Path) -> Result<Packages> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    download(session, folder)?;
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .with_context(|| format!("read {}", folder.display()))?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let packages = files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
    if packages.len() != PACKAGES.len() {
        bail!(
            "apt-get download left {} packages in {}, not {}",
            packages.len(),
            folder.display(),
            PACKAGES.len()
        );
    }
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = String::from_utf8_lossy(&architecture).trim().to_owned();
    Ok(Packages { architecture, packages })
}

/// Tries twice: a machine whose lists are missing or older than the archive gets them anew.
fn download(session: &mut Session, folder: &Path) -> Result<()> {
    let attempt = |session: &mut Session| {
        session.run(
            Command::new("apt-get")
                // root's folders may be closed to the user that apt would become.
                .args(["-q", "-o", "APT::Sandbox::User=root", "download"])
                .args(PACKAGES)
                .current_dir(folder),
        )
    };
    attempt(session).or_else(|_| {
        session.run(Command::new("apt-get").args(["-q", "update"])).context(
            "apt-get download failed, and so did the update of its lists, for which it needs root",
        )?;
        attempt(session)
    })
}

/// Reads one package.
fn read(file: &Path) -> Result<Package> {
    let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let control = output(Command::new("dpkg-deb").arg("--field").arg(file))?;
    let control = String::from_utf8(control)
        .with_context(|| format!("{} has a strange control file", file.display()))?;
    let field = |name: &str| {
        control
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .map(str::to_owned)
            .with_context(|| format!("{} states no {name}", file.display()))
    };
    let mut package = Package {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
        sha256: sha256(&bytes),
        files: Tree::default(),
        certificates: BTreeMap::new(),
        control: String::new(),
    };
    let archive = output(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(file))?;
    choose(&archive, &mut package).with_context(|| format!("read {}", file.display()))?;
    package.control = control;
    Ok(package)
}

/// Takes out of a package's files what the image has: libraries, certificates, and who may copy them.
fn choose(archive: &[u8], package: &mut Package) -> Result<()> {
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        let path = path.trim_start_matches("./").to_owned();
        let name = path.rsplit('/').next().unwrap_or(&path);
        let wanted = LIBRARIES.contains(&name) || path == format!("usr/share/doc/{}/copyright", package.name);
        if entry.header().entry_type().is_symlink() && (wanted || path.starts_with("usr/share/doc/")) {
            let target = entry.link_name()?.context("a link without a target")?.display().to_string();
            package.files.link(&path, &target);
        } else if entry.header().entry_type().is_file() {
            let executable = entry.header().mode()? & 0o111 != 0;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            if path.starts_with(CERTIFICATES) {
                package.certificates.insert(path, bytes);
            } else if wanted && executable {
                package.files.executable(&path, bytes);
            } else if wanted {
                package.files.file(&path, bytes);
            }
        }
    }
    Ok(())
}

/// What a command prints.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}", output.status);
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> Package {
        Package {
            name: name.into(),
            version: "1".into(),
            architecture: "amd64".into(),
            sha256: "0".into(),
            control: format!("Package: {name}\nVersion: 1\n"),
            files: Tree::default(),
            certificates: BTreeMap::new(),
        }
    }

    #[test]
    fn of_a_package_only_libraries_certificates_and_licences_are_taken() {
        let mut full = Tree::default();
        full.executable("lib/x86_64-linux-gnu/libc.so.6", "elf");
        full.file("usr/lib/x86_64-linux-gnu/gconv/UTF-7.so", "elf");
        full.file("usr/share/doc/libc6/copyright", "LGPL");
        full.file("usr/share/doc/libc6/changelog.gz", "");
        full.file("usr/share/ca-certificates/mozilla/B.crt", "b\n\n");
        full.executable("usr/sbin/update-ca-certificates", "#!/bin/sh");
        full.link("lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        let mut package = package("libc6");
        choose(&full.to_tar().unwrap(), &mut package).unwrap();

        let mut expected = Tree::default();
        expected.executable("lib/x86_64-linux-gnu/libc.so.6", "elf");
        expected.file("usr/share/doc/libc6/copyright", "LGPL");
        expected.link("lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        assert_eq!(package.files, expected);
        assert_eq!(package.certificates.len(), 1);
    }

    #[test]
    fn all_certificates_are_in_one_file_in_the_order_of_their_names() {
        let mut ca = package("ca-certificates");
        ca.certificates.insert(format!("{CERTIFICATES}B.crt"), b"b\n\n".to_vec());
        ca.certificates.insert(format!("{CERTIFICATES}A.crt"), b"a".to_vec());
        let mut tree = Tree::default();
        let packages = Packages { architecture: "amd64".into(), packages: vec![ca] };
        packages.add_to(&mut tree).unwrap();
        let mut expected = Tree::default();
        expected.file("var/lib/dpkg/status.d/ca-certificates", "Package: ca-certificates\nVersion: 1\n");
        expected.file(BUNDLE, "a\nb\n");
        assert_eq!(tree, expected);
    }

    #[test]
    fn an_image_without_certificates_is_refused() {
        let packages = Packages { architecture: "amd64".into(), packages: vec![package("libc6")] };
        assert!(packages.add_to(&mut Tree::default()).is_err());
    }
}
