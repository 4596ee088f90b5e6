//! The names of this machine.

use std::fs;

/// Returns the machine's own names in lower case: its host name, its short form, and the names on the same line of
/// `/etc/hosts`, where the full name is. It sends no query over the network.
pub fn machine_names() -> Vec<String> {
    let own = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    names(&own, &fs::read_to_string("/etc/hosts").unwrap_or_default())
}

fn names(own: &str, hosts: &str) -> Vec<String> {
    let own = own.to_ascii_lowercase();
    if own.is_empty() {
        return Vec::new();
    }
    let short = own.split('.').next().unwrap_or(&own).to_owned();
    let mut names = vec![own.clone(), short];
    for line in hosts.lines() {
        let words = line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
        let aliases: Vec<_> = words.map(str::to_ascii_lowercase).collect();
        if aliases.contains(&own) {
            names.extend(aliases);
        }
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_name_stands_beside_the_short_one() {
        let hosts =
            "127.0.0.1 localhost\n127.0.1.1\tWeb1.example.org web1 # web1 other\n10.0.0.2 web2.example.org web2\n";
        assert_eq!(names("web1", hosts), ["web1", "web1.example.org"]);
        assert_eq!(names("Web1.example.org", ""), ["web1", "web1.example.org"]);
        assert_eq!(names("", hosts), [""; 0]);
    }
}
