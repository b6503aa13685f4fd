//! The Delta tables: what is in each of them, how records of the journal get there exactly once, and how they
//! are kept. Nothing else in the workspace knows Delta, Parquet, Arrow or an object store.

mod append;
mod aside;
mod checks;
mod clock;
mod columns;
mod compact;
mod ended;
mod files;
mod filling;
mod flusher;
mod keep;
mod lake;
mod list;
mod observer;
mod pass;
mod replace;
mod rows;
mod served;
mod staged;
mod stream;
mod upgrade;
mod vacuum;

pub use aside::runtime;
pub use flusher::{Crash, Flusher, FlusherStatus, Step};
pub use keep::Retention;
pub use lake::{Lake, TableError};
pub use list::{ColumnInfo, TableInfo};
pub use observer::{SegmentObserver, Watch};
pub use rows::Workspace;
pub use served::{ServedEndpoint, ServedEntities, ServedEntity, ServedNow};
pub use wire::table::{BadName, TableName};
