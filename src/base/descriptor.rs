//! File descriptors by their numbers.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// A descriptor of our own for one that somebody else in this process has open.
///
/// # Errors
/// The system's, if the number is no open descriptor, or there is none left.
#[expect(unsafe_code, reason = "others have no other name for it than its number")]
pub(crate) fn own(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is borrowed for this call only, which duplicates it; a number that is no open descriptor
    // makes that fail.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed.try_clone_to_owned()
}
