//! Memory that is asked for in large pieces.

/// Pieces from here on are worth it, in bytes.
#[cfg(target_os = "linux")]
const LARGE: usize = 8 << 20;

/// Lets the system back the room of a vector with huge pages, where it has them to spare.
///
/// A kernel's instruction records take 60 MB, which are 15 000 pages; each takes the system one to
/// three microseconds when it is first used, and that would be a twentieth of a run. Where nothing
/// comes of it, nothing is lost.
pub(crate) fn prefer_huge_pages<T>(room: &Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        let size = room.capacity() * size_of::<T>();
        if size < LARGE {
            return;
        }
        let page = rustix::param::page_size();
        let start = room.as_ptr() as usize;
        let first = start.next_multiple_of(page);
        let len = (start + size - first) / page * page;
        let place = room.as_ptr().wrapping_byte_add(first - start);
        // SAFETY: the pages lie within the vector's own allocation, and the advice changes neither
        // what they hold nor whether they may be used, only how large the pieces are that the
        // system gives. Whether it takes the advice does not matter.
        let _ = unsafe {
            rustix::mm::madvise(
                place.cast_mut().cast(),
                len,
                rustix::mm::Advice::LinuxHugepage,
            )
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = room;
}
