//! A folder of manifests, edited as an operator would edit them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A folder of YAML files that a running process watches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifests {
    folder: PathBuf,
}

impl Manifests {
    /// Copies all YAML files below `source` into `folder`, which must not exist yet.
    ///
    /// # Errors
    /// When a file cannot be read or written, or `folder` exists.
    pub fn copy(source: &Path, folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(folder.parent().unwrap_or(Path::new("/")))?;
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        copy_yaml(source, &folder).with_context(|| format!("cannot copy {}", source.display()))?;
        Ok(Self { folder })
    }

    /// Makes an empty folder, which must not exist yet.
    ///
    /// # Errors
    /// When it cannot be made, or exists.
    pub fn empty(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Content of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, file: &str) -> Result<String> {
        let path = self.folder.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Writes a file so that a reader sees the old content or the new, never a part: complete under a name that is no
    /// manifest's, then renamed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.folder.join(file);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        let temporary =
            folder.join(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
        fs::write(&temporary, text)
            .and_then(|()| fs::rename(&temporary, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Replaces a text that stands exactly so many times in a file.
    ///
    /// # Errors
    /// When it stands there another number of times, or the file cannot be read or written.
    pub fn replace(&self, file: &str, old: &str, new: &str, times: usize) -> Result<()> {
        let text = self.read(file)?;
        let count = text.matches(old).count();
        ensure!(count == times, "\"{old}\" stands {count} times in {file}, not {times}");
        self.write(file, &text.replace(old, new))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, file: &str) -> Result<()> {
        let path = self.folder.join(file);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }
}

fn copy_yaml(source: &Path, target: &Path) -> Result<()> {
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let to = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            copy_yaml(&entry.path(), &to)?;
        } else if entry.path().extension().is_some_and(|extension| extension == "yaml") {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy of two small manifests, and what removes it.
    fn with_copy(name: &str, check: impl FnOnce(&Manifests)) {
        let root = std::env::temp_dir().join(format!("bellhop-lab-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("source/nodes")).unwrap();
        fs::write(root.join("source/nodes/a.yaml"), "label: one\n").unwrap();
        fs::write(root.join("source/README.md"), "no manifest").unwrap();
        let manifests = Manifests::copy(&root.join("source"), root.join("copy")).unwrap();
        check(&manifests);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_copy_holds_the_yaml_files_and_nothing_else() {
        with_copy("copy", |manifests| {
            assert_eq!(manifests.read("nodes/a.yaml").unwrap(), "label: one\n");
            assert!(manifests.read("README.md").is_err());
        });
    }

    #[test]
    fn an_edit_that_would_change_nothing_or_too_much_is_refused() {
        with_copy("edit", |manifests| {
            manifests.replace("nodes/a.yaml", "one", "two two", 1).unwrap();
            assert_eq!(manifests.read("nodes/a.yaml").unwrap(), "label: two two\n");
            assert!(
                manifests.replace("nodes/a.yaml", "one", "x", 1).unwrap_err().to_string().contains("0 times")
            );
            assert!(
                manifests.replace("nodes/a.yaml", "two", "x", 1).unwrap_err().to_string().contains("2 times")
            );
            let names: Vec<_> = fs::read_dir(manifests.folder().join("nodes")).unwrap().collect();
            assert_eq!(names.len(), 1, "a temporary file is left");
        });
    }
}
