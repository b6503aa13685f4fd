//! Work that computes much between its waits, such as Arrow's and Parquet's, off the threads that serve calls, and behind
//! them where both want the same core.
//!
//! It has runtimes of its own: what it spawns, as the writers of Parquet do for the end of a file, would else run on those
//! that serve.

use std::io;
use std::sync::OnceLock;

use rustix::process::{getpriority_process, setpriority_process};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::lake::TableError;

/// How much nicer than serving: a thread as nice gets a thirtieth of a core that serving has work for, and all of one that is idle.
const NICENESS: i32 = 15;

/// Whether what is in the journal can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Patient,
    /// It fills up, or the tables are far behind: they are as important as the calls.
    Hurried,
}

/// What runs for as long as the process: a connection to an object store is its runtime's.
static PATIENT: OnceLock<Runtime> = OnceLock::new();
static HURRIED: OnceLock<Runtime> = OnceLock::new();

/// Where tables are written. Errors when no thread can be started.
pub fn runtime() -> io::Result<Handle> {
    of(Pace::Patient)
}

fn of(pace: Pace) -> io::Result<Handle> {
    let kept = match pace {
        Pace::Patient => &PATIENT,
        Pace::Hurried => &HURRIED,
    };
    if let Some(runtime) = kept.get() {
        return Ok(runtime.handle().clone());
    }
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("tables").enable_all();
    if pace == Pace::Patient {
        // Not more of it for a thread that another of them starts. Where it is not allowed the work is done all the same.
        let nice = getpriority_process(None).map_or(NICENESS, |own| own + NICENESS);
        builder.on_thread_start(move || {
            let _ = setpriority_process(None, nice);
        });
    }
    let built = builder.build()?;
    // Of two that are made at once one is kept, and the other has nothing to do yet.
    if let Err(spare) = kept.set(built) {
        spare.shutdown_background();
    }
    kept.get().map(|runtime| runtime.handle().clone()).ok_or_else(|| io::Error::other("no runtime is kept"))
}

/// Runs `work` on a thread of its own, and ends it where nobody waits for it any more.
pub(crate) async fn aside<T: Send + 'static>(
    pace: Pace,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, TableError> {
    let running = AbortOnDropHandle::new(of(pace)?.spawn(work));
    running.await.map_err(|_| io::Error::other("the work on the tables ended early").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_the_tables_is_served_first() {
        let niceness = || async { getpriority_process(None).unwrap() };
        let own = niceness().await;
        assert_eq!(aside(Pace::Hurried, niceness()).await.unwrap(), own);
        assert_eq!(aside(Pace::Patient, niceness()).await.unwrap(), (own + NICENESS).min(19));
        assert_eq!(niceness().await, own);
    }

    #[tokio::test]
    async fn what_the_work_spawns_is_off_the_threads_that_serve_as_well() {
        let name = || std::thread::current().name().map(str::to_owned);
        let work = async move {
            let spawned =
                tokio::task::JoinSet::from_iter([async move { name() }]).join_next().await.unwrap().unwrap();
            let blocking = tokio::task::spawn_blocking(move || (name(), getpriority_process(None).unwrap()));
            (spawned, blocking.await.unwrap())
        };
        let own = getpriority_process(None).unwrap();
        let tables = Some("tables".to_owned());
        let expected = (tables.clone(), (tables, (own + NICENESS).min(19)));
        assert_eq!(aside(Pace::Patient, work).await.unwrap(), expected);
    }
}
