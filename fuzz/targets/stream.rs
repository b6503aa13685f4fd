#![no_main]

use providers;

#[path = "../feed.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod feed;
#[path = "../subject.rs"]
mod subject;

libfuzzer_sys::fuzz_target!(|data: &[u8]| subject::get().stream(data));
