//! Reads files of proc(5) in few calls: std asks for their size, which they don't report, and then reads small pieces.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The usual maximum size of such a file.
const USUAL: usize = 4 << 10;
/// The most that is read.
const MOST: u64 = 1 << 20;

/// Reads the file.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::with_capacity(USUAL);
    File::open(path)?.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_file_of_proc_is_read_whole() {
        let status = super::read("/proc/self/status").expect("it is there");
        assert!(status.starts_with("Name:") && status.contains("\nSigIgn:") && status.ends_with('\n'), "{status}");
        let (maps, again) = (super::read("/proc/self/maps"), std::fs::read_to_string("/proc/self/maps"));
        let first = |maps: std::io::Result<String>| maps.expect("it is there").lines().next().map(str::to_owned);
        assert_eq!(first(maps), first(again));
        assert!(super::read("/proc/self/none").is_err());
    }
}
