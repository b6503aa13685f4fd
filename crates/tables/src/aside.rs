//! Work that computes much between its waits, such as Arrow's and Parquet's, off the threads that serve calls.

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::lake::TableError;

/// Runs `work` on a thread that may block, and ends it where nobody waits for it any more.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, TableError> {
    let stop = CancellationToken::new();
    let (runtime, stopped) = (Handle::current(), stop.clone());
    let _stops_with_this = stop.drop_guard();
    let run = move || runtime.block_on(stopped.run_until_cancelled(work));
    let done = tokio::task::spawn_blocking(run).await.map_err(std::io::Error::other)?;
    done.ok_or_else(|| std::io::Error::other("the server stops").into())
}
