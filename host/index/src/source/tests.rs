use std::fs;
use std::os::unix::fs::symlink;

use bellhop_core::World;
use tempfile::TempDir;

use super::*;

fn pool(name: &str, range: &str) -> String {
    format!(
        "---\napiVersion: bellhop.dev/v1alpha1\nkind: AddressPool\nmetadata: {{name: {name}}}\nspec: {{addresses: ['{range}']}}\n"
    )
}

/// A folder, its reader, and the World that the deltas make.
struct Reader {
    folder: TempDir,
    folders: Folders,
    world: World,
}

impl Reader {
    fn new() -> Self {
        Self::with(WhenEmpty::Hold)
    }

    fn with(when_empty: WhenEmpty) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let read = Folder { path: folder.path().to_owned(), when_empty };
        let folders = Folders::new(vec![read], Options::default());
        Self { folder, folders, world: World::default() }
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Reads, and says how many deltas that gave.
    fn poll(&mut self) -> usize {
        let deltas = self.folders.poll();
        let count = deltas.len();
        for delta in deltas {
            self.world.apply(delta);
        }
        count
    }

    fn pools(&self) -> Vec<&str> {
        self.world.pools().keys().map(|name| &**name).collect()
    }

    fn problems(&self) -> Vec<String> {
        self.world.problems().values().flatten().map(ToString::to_string).collect()
    }
}

#[test]
fn folders_are_read_whole_and_then_by_what_changed() {
    let mut reader = Reader::new();
    reader.write("a.yaml", &pool("a", "203.0.113.0/24"));
    reader.write("deep/er/b.yml", &pool("b", "198.51.100.0/24"));
    reader.write("notes.txt", "no manifest");
    reader.write(".a.yaml.swp", "no manifest: [");
    assert_eq!(reader.poll(), 3, "two pools and Synced");
    assert!(reader.world.synced());
    assert_eq!(reader.pools(), ["a", "b"]);
    assert_eq!(reader.poll(), 0);
    reader.write("a.yaml", &pool("a", "203.0.113.0/25"));
    assert_eq!(reader.poll(), 1);
    // As editors do it: written beside, then renamed over.
    reader.write(".new", &pool("c", "192.0.2.0/25"));
    fs::rename(reader.folder.path().join(".new"), reader.folder.path().join("a.yaml")).unwrap();
    assert_eq!(reader.poll(), 2);
    assert_eq!(reader.pools(), ["b", "c"]);
    fs::remove_dir_all(reader.folder.path().join("deep")).unwrap();
    reader.poll();
    assert_eq!((reader.pools(), reader.problems().len()), (vec!["c"], 0));
}

#[test]
fn two_edits_of_the_same_length_in_one_tick_are_both_seen() {
    let mut reader = Reader::new();
    for round in 0..50 {
        reader.write("a.yaml", &pool("a", &format!("203.0.113.{}", 100 + round)));
        assert!(reader.poll() > 0, "round {round}");
    }
}

#[test]
fn a_folder_that_is_suddenly_empty_or_gone_changes_nothing() {
    let mut reader = Reader::new();
    reader.write("a.yaml", &pool("a", "203.0.113.0/24"));
    reader.poll();
    let file = reader.folder.path().join("a.yaml");
    fs::remove_file(&file).unwrap();
    assert_eq!(reader.poll(), 1, "the problem");
    assert_eq!(reader.pools(), ["a"]);
    assert!(reader.problems()[0].contains("has no manifest any more"), "{:?}", reader.problems());
    assert_eq!(reader.poll(), 0, "the same problem is told once");

    fs::remove_dir(reader.folder.path()).unwrap();
    reader.poll();
    assert_eq!(reader.pools(), ["a"]);
    assert!(reader.problems()[0].contains("cannot be read"), "{:?}", reader.problems());

    // It comes back with something else: that is an edit again.
    reader.write("b.yaml", &pool("b", "198.51.100.0/24"));
    reader.poll();
    assert_eq!((reader.pools(), reader.problems().len()), (vec!["b"], 0));
}

#[test]
fn nothing_is_synced_before_every_folder_could_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    fs::create_dir(&here).unwrap();
    let mut folders = Folders::new(vec![Folder::manifests(&here), Folder::own(&there)], Options::default());
    let deltas = folders.poll();
    assert!(matches!(&deltas[..], [Delta::Problems(..)]), "{deltas:?}");
    fs::create_dir(&there).unwrap();
    let deltas = folders.poll();
    assert!(matches!(&deltas[..], [Delta::Problems(..), Delta::Synced]), "{deltas:?}");
    assert!(folders.poll().is_empty());
}

#[test]
fn the_last_claim_may_go_unless_the_directory_is_another_one() {
    let mut reader = Reader::with(WhenEmpty::Accept);
    reader.write("a.yaml", &pool("a", "203.0.113.0/24"));
    reader.poll();
    fs::remove_file(reader.folder.path().join("a.yaml")).unwrap();
    reader.poll();
    assert_eq!(reader.pools(), [""; 0]);

    reader.write("a.yaml", &pool("a", "203.0.113.0/24"));
    reader.poll();
    // As when a disk is unmounted: the same name, another directory. The old one is kept, so that its inode is.
    let moved = reader.folder.path().with_extension("moved");
    fs::rename(reader.folder.path(), &moved).unwrap();
    fs::create_dir(reader.folder.path()).unwrap();
    reader.poll();
    fs::remove_dir_all(&moved).unwrap();
    assert_eq!((reader.pools(), reader.problems().len()), (vec!["a"], 1));
}

#[test]
fn a_config_map_volume_is_swapped_in_one_step() {
    let mut reader = Reader::new();
    let root = reader.folder.path().to_owned();
    reader.write("..first/a.yaml", &pool("a", "203.0.113.0/24"));
    reader.write("..first/b.yaml", &pool("b", "198.51.100.0/24"));
    reader.write("..second/a.yaml", &pool("a", "203.0.113.0/25"));
    reader.write("..second/b.yaml", &pool("b", "198.51.100.0/24"));
    symlink("..first", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    symlink("..data/b.yaml", root.join("b.yaml")).unwrap();
    assert_eq!(reader.poll(), 3);
    symlink("..second", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    assert_eq!(reader.poll(), 1, "only what differs");
    // A link that leads nowhere keeps what it led to.
    fs::remove_file(root.join("..data")).unwrap();
    reader.poll();
    assert_eq!((reader.pools(), reader.problems().len()), (vec!["a", "b"], 1));
}

#[test]
fn links_in_a_circle_are_walked_once() {
    let mut reader = Reader::new();
    reader.write("sub/a.yaml", &pool("a", "203.0.113.0/24"));
    symlink(reader.folder.path(), reader.folder.path().join("sub/loop")).unwrap();
    reader.poll();
    assert_eq!((reader.pools(), reader.problems().len()), (vec!["a"], 0));
}

#[test]
fn a_file_above_the_bound_is_refused_unread_and_keeps_what_it_had() {
    let mut reader = Reader::new();
    reader.write("a.yaml", &pool("a", "203.0.113.0/24"));
    reader.poll();
    fs::File::create(reader.folder.path().join("a.yaml")).unwrap().set_len(1 << 40).unwrap();
    reader.poll();
    assert_eq!(reader.pools(), ["a"]);
    assert!(reader.problems()[0].contains("1099511627776 bytes"), "{:?}", reader.problems());
    reader.write("a.yaml", &pool("a", "203.0.113.0/25"));
    reader.poll();
    assert_eq!(reader.problems(), [""; 0]);
}

/// Waits for the next batch, for much longer than it may take.
fn next(deltas: &mut mpsc::Receiver<Vec<Delta>>) -> Vec<Delta> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let deadline = Duration::from_secs(20);
    runtime.block_on(async { tokio::time::timeout(deadline, deltas.recv()).await }).unwrap().unwrap()
}

#[test]
fn an_edit_arrives_as_one_batch_with_one_delta_soon_after_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, pool("a", "203.0.113.0/24") + &pool("b", "198.51.100.0/24")).unwrap();
    let (sender, mut deltas) = mpsc::channel(4);
    let _source =
        ManifestSource::watch(vec![Folder::manifests(folder.path())], Options::default(), sender).unwrap();
    assert!(matches!(&next(&mut deltas)[..], [Delta::Pool(..), Delta::Pool(..), Delta::Synced]));
    let mut took = Vec::new();
    for round in 1..=10 {
        let begin = Instant::now();
        fs::write(&file, pool("a", &format!("203.0.113.{round}")) + &pool("b", "198.51.100.0/24")).unwrap();
        let batch = next(&mut deltas);
        took.push(begin.elapsed());
        assert!(matches!(&batch[..], [Delta::Pool(..)]), "{batch:?}");
    }
    took.sort_unstable();
    // Far below RESCAN, so that it was the event and not the clock; the median is what the 200 ms are about.
    assert!(took[took.len() / 2] < Duration::from_secs(1), "{took:?}");
    println!(
        "an edit took {:?} (median of {}), at most {:?}",
        took[took.len() / 2],
        took.len(),
        took[took.len() - 1]
    );
}

#[test]
fn reading_the_folder_does_not_wake_the_source_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), pool("a", "203.0.113.0/24")).unwrap();
    let (wake, woken) = sync_channel(1);
    let mut watches = Watches::new(&[Folder::manifests(folder.path())], wake);
    assert!(watches.renew());
    let mut folders = Folders::new(vec![Folder::manifests(folder.path())], Options::default());
    folders.poll();
    assert_eq!(woken.recv_timeout(Duration::from_millis(300)), Err(RecvTimeoutError::Timeout));
    // And a folder that was made anew is watched anew.
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(!watches.renew());
    fs::create_dir(folder.path()).unwrap();
    assert!(watches.renew());
    while woken.try_recv().is_ok() {}
    fs::write(folder.path().join("b.yaml"), "").unwrap();
    assert_eq!(woken.recv_timeout(Duration::from_secs(20)), Ok(()));
}
