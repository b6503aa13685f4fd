//! Files that a server which died was still writing, in a folder of this machine: the store writes under a name with a
//! number behind it, `….parquet#1`, gives the file its own when it is whole, and lists none of them.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Deletes those under the folder of a table that nobody has written to since; gives how many.
pub(crate) fn forget(folder: &Path, since: SystemTime) -> io::Result<usize> {
    let mut forgotten = 0;
    for item in fs::read_dir(folder)? {
        // Of what another server has finished or deleted meanwhile nothing is left to do.
        forgotten += unless_gone(forget_one(&item?, since))?;
    }
    Ok(forgotten)
}

fn forget_one(item: &DirEntry, since: SystemTime) -> io::Result<usize> {
    if item.file_type()?.is_dir() {
        return forget(&item.path(), since);
    }
    let is_old = is_staged(&item.file_name().to_string_lossy()) && item.metadata()?.modified()? < since;
    if is_old {
        fs::remove_file(item.path())?;
    }
    Ok(is_old.into())
}

fn unless_gone(forgotten: io::Result<usize>) -> io::Result<usize> {
    match forgotten {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        forgotten => forgotten,
    }
}

fn is_staged(name: &str) -> bool {
    let number = name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_behind_the_name_is_what_tells() {
        for (name, staged) in [
            ("a.parquet#1", true),
            ("00000000000000000001.json#17", true),
            ("a.parquet", false),
            ("a.parquet#", false),
            ("a#1.parquet", false),
            ("1", false),
        ] {
            assert_eq!(is_staged(name), staged, "{name}");
        }
    }
}
