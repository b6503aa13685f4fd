//! When requests are sent.

use crate::client::{Connection, Target, once};
use crate::report::Report;
use protocol::clock::{Timer, now_ns};
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;

/// The pattern of a load.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    Closed { conns: u64 },
    Open { rate: f64 },
    Streams { streams: u64, repeat: u64, ramp_s: f64 },
}

/// More requests than this at once means that the target cannot follow the rate.
const MOST_IN_FLIGHT: usize = 2000;

struct Shared {
    target: Target,
    report: RefCell<Report>,
}

pub(crate) async fn run(
    load: Load,
    target: Target,
    report: Report,
    window: Range<u64>,
) -> anyhow::Result<Report> {
    let shared = Rc::new(Shared { target, report: RefCell::new(report) });
    let mut tasks = JoinSet::new();
    match load {
        Load::Closed { conns } => {
            for _ in 0..conns {
                tasks.spawn_local(closed(shared.clone(), window.end));
            }
        }
        Load::Open { rate } => open(&shared, &mut tasks, rate, window.end).await?,
        Load::Streams { streams, repeat, ramp_s } => {
            for i in 0..streams {
                let delay = Duration::from_secs_f64(ramp_s * i as f64 / streams as f64);
                tasks.spawn_local(streams_in_turn(shared.clone(), delay, repeat));
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    let shared = Rc::into_inner(shared).ok_or_else(|| anyhow::anyhow!("a task still runs"))?;
    Ok(shared.report.into_inner())
}

async fn closed(shared: Rc<Shared>, end_ns: u64) {
    let mut idle = None;
    while now_ns() < end_ns {
        idle = once(idle.take(), &shared.target, &shared.report, now_ns()).await;
        pause_after_failure(idle.is_none()).await;
    }
}

async fn streams_in_turn(shared: Rc<Shared>, delay: Duration, repeat: u64) {
    tokio::time::sleep(delay).await;
    let mut idle = None;
    for _ in 0..repeat {
        idle = once(idle.take(), &shared.target, &shared.report, now_ns()).await;
        pause_after_failure(idle.is_none()).await;
    }
}

/// A target that is gone must not be asked a million times a second.
async fn pause_after_failure(failed: bool) {
    if failed {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn open(shared: &Rc<Shared>, tasks: &mut JoinSet<()>, rate: f64, end_ns: u64) -> anyhow::Result<()> {
    const CONNECTED_BEFORE: usize = 16;
    let pool: Rc<RefCell<Vec<Connection>>> = Rc::default();
    for _ in 0..CONNECTED_BEFORE {
        let connection = Connection::open(&shared.target, &shared.report).await?;
        pool.borrow_mut().push(connection);
    }
    let timer = Timer::new()?;
    let begin = now_ns();
    for i in 0.. {
        let due_ns = begin + (i as f64 * 1e9 / rate) as u64;
        if due_ns >= end_ns {
            break;
        }
        timer.until(due_ns).await?;
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= MOST_IN_FLIGHT {
            shared.report.borrow_mut().error("the target does not follow the rate");
            continue;
        }
        let (shared, pool) = (shared.clone(), pool.clone());
        tasks.spawn_local(async move {
            let idle = pool.borrow_mut().pop();
            let connection = once(idle, &shared.target, &shared.report, due_ns).await;
            pool.borrow_mut().extend(connection);
        });
    }
    Ok(())
}
