//! The change of keys, stopped after each of its steps.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use secrecy::ExposeSecret;
use store::model::NewScope;
use store::{MasterKey, SecretStore};
use zeroize::Zeroizing;

use super::*;
use crate::config::{KeysConfig, MasterKeyTexts};

const SCOPES: &[&str] = &["a", "b", "c"];

struct World {
    folder: DataFolder,
    _temporary: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = DataFolder::create(&temporary.path().join("data")).unwrap();
        let world = Self { folder, _temporary: temporary };
        let store = world.open().await;
        for name in SCOPES {
            store.create_scope(NewScope { name, hidden: false, managers: &[] }).await.unwrap();
            store.put_secret(name, "k", name.as_bytes()).await.unwrap();
        }
        store.close().await;
        world
    }

    async fn open(&self) -> SqliteStore {
        self.folder.open_store(&KeysConfig::File).await.unwrap()
    }

    fn text(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.path().join(name)).ok()
    }

    async fn rotate(&self, watch: Watch<'_>) -> anyhow::Result<usize> {
        rotate(&self.folder, Custody::new(self.folder.path(), &KeysConfig::File).unwrap(), watch).await
    }
}

async fn everything_opens(store: &SqliteStore) {
    for name in SCOPES {
        let value = store.open_secret(name, "k").await.unwrap().unwrap();
        assert_eq!(value.expose_secret(), name.as_bytes());
    }
}

#[tokio::test]
async fn a_change_leaves_one_new_key() {
    let world = World::new().await;
    let (running, old) = (world.open().await, world.text("master.key").unwrap());
    let steps = parking_lot::Mutex::new(Vec::new());
    let watch = |step| {
        steps.lock().push(step);
        Ok(())
    };
    assert_eq!(world.rotate(&watch).await.unwrap(), 3);
    let renewed = Step::ScopeRenewed;
    let expected = [Step::NextWritten, Step::MasterChanged, Step::NextPromoted, renewed, renewed, renewed];
    assert_eq!(*steps.lock(), expected);
    let new = world.text("master.key").unwrap();
    assert!(new != old && world.text("master.key.next").is_none());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.folder.path().join("master.key")), 0o600);
    everything_opens(&running).await;
    running.create_scope(NewScope { name: "later", hidden: false, managers: &[] }).await.unwrap();
    everything_opens(&world.open().await).await;
    let old = MasterKey::from_hex(&old).unwrap();
    assert!(!running.is_master(&old).await.unwrap());
    assert!(running.is_master(&MasterKey::from_hex(&new).unwrap()).await.unwrap());
}

/// Stops after step `at`; whatever is left there must open for who runs, for who starts, and for the next try.
#[tokio::test]
async fn a_change_that_stops_anywhere_loses_nothing() {
    for at in 0..6 {
        let world = World::new().await;
        let running = world.open().await;
        let done = AtomicUsize::new(0);
        let stop = |_| match done.fetch_add(1, Ordering::SeqCst) {
            step if step == at => anyhow::bail!("stopped"),
            _ => Ok(()),
        };
        assert!(world.rotate(&stop).await.is_err(), "{at}");
        everything_opens(&running).await;
        running.put_secret("a", "while", b"x").await.unwrap();
        running.create_scope(NewScope { name: "new", hidden: false, managers: &[] }).await.unwrap();
        running.put_secret("new", "k", b"y").await.unwrap();
        // The next start settles what was left.
        let started = world.open().await;
        assert!(world.text("master.key.next").is_none(), "{at}");
        let key = MasterKey::from_hex(&world.text("master.key").unwrap()).unwrap();
        assert!(started.is_master(&key).await.unwrap(), "{at}");
        for store in [&started, &running] {
            everything_opens(store).await;
            assert_eq!(store.open_secret("new", "k").await.unwrap().unwrap().expose_secret(), b"y", "{at}");
        }
        started.close().await;
        assert_eq!(world.rotate(&|_| Ok(())).await.unwrap(), 4, "{at}");
        everything_opens(&running).await;
        everything_opens(&world.open().await).await;
    }
}

/// Also when the next to come is another change, with nobody having started in between.
#[tokio::test]
async fn a_change_follows_one_that_stopped() {
    for at in [Step::NextWritten, Step::MasterChanged] {
        let world = World::new().await;
        let stop = |step| if step == at { Err(anyhow::anyhow!("stopped")) } else { Ok(()) };
        assert!(world.rotate(&stop).await.is_err());
        assert!(world.text("master.key.next").is_some());
        world.rotate(&|_| Ok(())).await.unwrap();
        assert!(world.text("master.key.next").is_none());
        everything_opens(&world.open().await).await;
    }
}

#[tokio::test]
async fn two_changes_at_once_are_one() {
    let world = World::new().await;
    let files = FileKeys::of(world.folder.path());
    let held = files.try_lock().unwrap().unwrap();
    let refused = world.rotate(&|_| Ok(())).await.unwrap_err();
    assert!(refused.to_string().contains("under way"), "{refused}");
    // A start in the middle of it leaves the second key alone.
    std::fs::write(world.folder.path().join("master.key.next"), &*MasterKey::generate().unwrap()).unwrap();
    everything_opens(&world.open().await).await;
    assert!(world.text("master.key.next").is_some());
    drop(held);
    everything_opens(&world.open().await).await;
    assert!(world.text("master.key.next").is_none());
}

fn of_variables(current: &str, next: Option<&str>) -> anyhow::Result<Custody> {
    let text = |text: &str| Zeroizing::new(text.to_owned());
    let texts = MasterKeyTexts { current: Some(text(current)), next: next.map(text) };
    Ok(Custody::Env(EnvKeys::new(&texts)?))
}

#[tokio::test]
async fn a_key_in_a_variable_is_changed_to_the_next_one() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = DataFolder::create(temporary.path()).unwrap();
    let [old, new] = [(); 2].map(|()| MasterKey::generate().unwrap());
    let custody = |next| of_variables(&old, next).unwrap();
    let store = folder.open_unsettled(Arc::new(custody(None))).await.unwrap();
    for name in SCOPES {
        store.create_scope(NewScope { name, hidden: false, managers: &[] }).await.unwrap();
        store.put_secret(name, "k", name.as_bytes()).await.unwrap();
    }
    store.close().await;
    let refused = rotate(&folder, custody(None), &|_| Ok(())).await.unwrap_err();
    assert!(refused.is::<ConfigProblem>() && refused.to_string().contains("TOLLGATE_MASTER_KEY_NEXT"));

    let running = folder.open_unsettled(Arc::new(custody(Some(&new)))).await.unwrap();
    for _ in 0..2 {
        assert_eq!(rotate(&folder, custody(Some(&new)), &|_| Ok(())).await.unwrap(), 3);
        everything_opens(&running).await;
    }
    everything_opens(&folder.open_unsettled(Arc::new(of_variables(&new, None).unwrap())).await.unwrap())
        .await;
    assert!(folder.open_unsettled(Arc::new(custody(None))).await.is_err());
    assert!(!folder.path().join("master.key").exists());

    for wrong in ["", "00", "not a key"] {
        let refused = of_variables(wrong, None).err().unwrap();
        assert!(refused.is::<ConfigProblem>() && refused.to_string().contains("TOLLGATE_MASTER_KEY"));
    }
    let none = EnvKeys::new(&MasterKeyTexts { current: None, next: None }).err().unwrap();
    assert!(none.is::<ConfigProblem>() && none.to_string().contains("tollgate key generate"));
}
