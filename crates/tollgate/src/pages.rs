//! Pages of memory.

/// A stream that is held has some buffers of which it fills little. In pages of 2 MiB, which the allocator asks for, all of
/// them would be in memory: half as much again for each stream. Where it is not allowed the server works as well.
pub(crate) fn keep_small() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
