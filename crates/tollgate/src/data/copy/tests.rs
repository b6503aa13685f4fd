//! There and back.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use secrecy::ExposeSecret;
use store::model::NewScope;
use store::{SecretStore, TokenStore};

use super::*;
use crate::data::rotate;

struct World {
    temporary: tempfile::TempDir,
    folder: DataFolder,
    store: SqliteStore,
}

impl World {
    /// A folder with a secret and a token, on which a server runs.
    async fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = DataFolder::create(&temporary.path().join("data")).unwrap();
        let store = folder.open_store(&KeysConfig::File).await.unwrap();
        control::ensure_admin(&store).await.unwrap();
        store.create_scope(NewScope { name: "s", hidden: false, managers: &[] }).await.unwrap();
        store.put_secret("s", "k", b"v").await.unwrap();
        Self { temporary, folder, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    async fn restore(&self, from: &str, to: &str, key: Option<&str>) -> anyhow::Result<()> {
        let key = key.map(|name| self.path(name));
        restore(&self.path(from), &self.path(to), &KeysConfig::File, key.as_deref()).await
    }

    /// Opens a restored folder and looks for what was there.
    async fn is_whole(&self, name: &str) {
        let store =
            DataFolder::existing(&self.path(name)).unwrap().open_store(&KeysConfig::File).await.unwrap();
        assert_eq!(store.open_secret("s", "k").await.unwrap().unwrap().expose_secret(), b"v");
        assert_eq!(store.tokens().await.unwrap(), self.store.tokens().await.unwrap());
        store.close().await;
        assert!(!self.path(name).join(UNFINISHED).exists());
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(folder: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_backup_with_its_key_is_a_whole_installation() {
    let world = World::new().await;
    backup(&world.folder, &world.path("copy"), true).await.unwrap();
    assert_eq!(names(&world.path("copy")), ["master.key", "tollgate.db"]);
    assert_eq!(mode(&world.path("copy")), 0o700);
    world.store.put_secret("s", "k", b"later").await.unwrap();
    world.restore("copy", "again", None).await.unwrap();
    assert_eq!(names(&world.path("again")), ["master.key", "tollgate.db"]);
    for path in ["copy/master.key", "copy/tollgate.db", "again/master.key", "again/tollgate.db"] {
        assert_eq!(mode(&world.path(path)), 0o600, "{path}");
    }
    world.is_whole("again").await;
    // A backup is restored as often as one likes.
    world.restore("copy", "third", None).await.unwrap();
    world.is_whole("third").await;
}

#[tokio::test]
async fn a_backup_without_its_key_needs_it() {
    let world = World::new().await;
    backup(&world.folder, &world.path("copy"), false).await.unwrap();
    assert_eq!(names(&world.path("copy")), ["tollgate.db"]);
    let refused = world.restore("copy", "again", None).await.unwrap_err();
    assert!(refused.to_string().contains("--key FILE"), "{refused}");
    std::fs::write(world.path("wrong"), &*MasterKey::generate().unwrap()).unwrap();
    std::fs::write(world.path("half"), "00").unwrap();
    for wrong in ["wrong", "half", "none"] {
        assert!(world.restore("copy", "again", Some(wrong)).await.is_err(), "{wrong}");
        assert!(!world.path("again").exists(), "nothing is made before the key is known to be right");
    }
    // After a change of the key it is the old one that opens the old copy.
    std::fs::copy(world.path("data/master.key"), world.path("old.key")).unwrap();
    let custody = Custody::new(world.folder.path(), &KeysConfig::File).unwrap();
    rotate(&world.folder, custody, &|_| Ok(())).await.unwrap();
    let refused = world.restore("copy", "again", Some("data/master.key")).await.unwrap_err();
    assert!(refused.to_string().contains("in force when it was made"), "{refused}");
    world.restore("copy", "again", Some("old.key")).await.unwrap();
    world.is_whole("again").await;
}

#[tokio::test]
async fn nothing_is_overwritten_and_nothing_broken_is_restored() {
    let world = World::new().await;
    backup(&world.folder, &world.path("copy"), true).await.unwrap();
    for full in ["copy", "data"] {
        let before = names(&world.path(full));
        let refused = backup(&world.folder, &world.path(full), true).await.unwrap_err();
        assert!(refused.to_string().contains("not empty"), "{refused}");
        let refused = world.restore("copy", full, None).await.unwrap_err();
        assert!(refused.to_string().contains("not empty"), "{refused}");
        assert_eq!(names(&world.path(full)), before);
    }
    assert!(world.restore("nowhere", "again", None).await.unwrap_err().to_string().contains("no backup"));
    let refused = world.restore("data", "again", None).await.unwrap_err();
    assert!(refused.to_string().contains("a data folder"), "{refused}");

    // An empty folder will do, such as a volume.
    std::fs::create_dir(world.path("volume")).unwrap();
    world.restore("copy", "volume", None).await.unwrap();
    world.is_whole("volume").await;

    let database = world.path("copy/tollgate.db");
    let mut bytes = std::fs::read(&database).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xff);
    std::fs::write(&database, bytes).unwrap();
    assert!(world.restore("copy", "again", None).await.is_err());
    assert!(!world.path("again").exists() || names(&world.path("again")).is_empty());
}

#[tokio::test]
async fn a_backup_is_taken_while_others_write() {
    let world = World::new().await;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let writes = async {
        let mut turns = 0;
        while !stop.load(std::sync::atomic::Ordering::SeqCst) {
            world.store.put_secret("s", &format!("k{turns}"), b"w").await.unwrap();
            turns += 1;
        }
        turns
    };
    let copies = async {
        for at in 0..3 {
            backup(&world.folder, &world.path(&format!("copy{at}")), true).await.unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let (turns, ()) = tokio::join!(writes, copies);
    assert!(turns > 0);
    for at in 0..3 {
        world.restore(&format!("copy{at}"), &format!("again{at}"), None).await.unwrap();
        world.is_whole(&format!("again{at}")).await;
    }
}
