//! Work that computes much between its waits, such as Arrow's and Parquet's, off the threads that serve calls, and behind
//! them where both want the same core.

use std::io;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::lake::TableError;

/// How much nicer than serving: a thread as nice gets a tenth of a core that serving has work for, and all of one that is idle.
const NICENESS: i32 = 10;

/// Whether what is in the journal can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Patient,
    /// It fills up, or the tables are behind: they are as important as the calls.
    Hurried,
}

/// Runs `work` on a thread of its own, and ends it where nobody waits for it any more.
pub(crate) async fn aside<T: Send + 'static>(
    pace: Pace,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, TableError> {
    let stop = CancellationToken::new();
    let (runtime, stopped) = (Handle::current(), stop.clone());
    let _stops_with_this = stop.drop_guard();
    let (told, done) = oneshot::channel();
    let run = move || {
        if pace == Pace::Patient {
            // Where it is not allowed the work is done all the same.
            let _ = rustix::process::nice(NICENESS);
        }
        drop(told.send(runtime.block_on(stopped.run_until_cancelled(work))));
    };
    thread::Builder::new().name("tables".to_owned()).spawn(run)?;
    let done = done.await.map_err(|_| io::Error::other("the thread of the tables ended early"))?;
    done.ok_or_else(|| io::Error::other("the server stops").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_the_tables_is_served_first() {
        let niceness = || async { rustix::process::nice(0).unwrap() };
        let own = niceness().await;
        assert_eq!(aside(Pace::Hurried, niceness()).await.unwrap(), own);
        assert_eq!(aside(Pace::Patient, niceness()).await.unwrap(), (own + NICENESS).min(19));
        assert_eq!(niceness().await, own);
    }
}
