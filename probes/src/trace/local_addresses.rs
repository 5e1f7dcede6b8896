//! Addresses of this host, in all of its network namespaces.
//!
//! A peer that has one of them is on this host, although no packet of it may have been observed.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::mounts;

/// Network namespaces that are read.
const MAX_NAMESPACES: usize = 1024;

/// Reads the addresses of every network namespace that a process is in, or that is mounted as a
/// file (`ip netns add`). Unreadable ones are omitted.
pub(super) fn read() -> HashSet<IpAddr> {
    let mut namespaces = HashSet::new();
    let mut addresses = of_process("self");
    namespaces.extend(fs::read_link("/proc/self/ns/net"));
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name
            .to_str()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        else {
            continue;
        };
        if namespaces.len() >= MAX_NAMESPACES {
            break;
        }
        let Ok(namespace) = fs::read_link(process.path().join("ns/net")) else {
            continue;
        };
        if namespaces.insert(namespace) {
            addresses.extend(of_process(pid));
        }
    }
    let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for (namespace, path) in mounts::network_namespaces(&mounted) {
        if namespaces.len() < MAX_NAMESPACES && namespaces.insert(namespace.into()) {
            addresses.extend(of_mounted_namespace(Path::new(&path)));
        }
    }
    addresses
}

/// Returns the addresses in a network namespace that no process need be in. A thread that enters it
/// reads them, and ends.
fn of_mounted_namespace(path: &Path) -> HashSet<IpAddr> {
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let namespace = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network)).ok()?;
            Some(of_process("thread-self"))
        });
        reader.join().ok().flatten().unwrap_or_default()
    })
}

fn of_process(pid: &str) -> HashSet<IpAddr> {
    let read = |file| fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap_or_default();
    let (ipv4, ipv6) = (read("fib_trie"), read("if_inet6"));
    parse_fib_trie(&ipv4).chain(parse_if_inet6(&ipv6)).collect()
}

/// Parses the IPv4 routing table: the address of a leaf, then its routes. A route of scope host and
/// type LOCAL is an address of an interface (`net/ipv4/fib_trie.c`: `fib_trie_seq_show()`).
fn parse_fib_trie(text: &str) -> impl Iterator<Item = IpAddr> {
    let mut leaf = None;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.trim().parse::<Ipv4Addr>().ok();
            return None;
        }
        leaf.filter(|_| line.starts_with("/32 host LOCAL")).map(IpAddr::V4)
    })
}

/// Parses the addresses of interfaces: 32 hexadecimal digits in the first column
/// (net/ipv6/addrconf.c: `if6_seq_show()`).
fn parse_if_inet6(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let digits = line.split(' ').next().filter(|word| word.len() == 32)?;
        let address = u128::from_str_radix(digits, 16).ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(address)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_local_routes_only() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    |-- 10.1.0.0\n        /16 link UNICAST\n     |-- 10.1.0.7\n        /32 host LOCAL\n     \
                    |-- 10.1.255.255\n        /32 link BROADCAST\n";
        let found: Vec<IpAddr> = parse_fib_trie(text).collect();
        assert_eq!(found, ["10.1.0.7".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn parses_ipv6_addresses() {
        let text = "00000000000000000000000000000001 01 80 10 80       lo\nnonsense\n";
        let found: Vec<IpAddr> = parse_if_inet6(text).collect();
        assert_eq!(found, [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    }

    #[test]
    fn loopback_is_local_here() {
        let here = read();
        // A network namespace without a configured loopback device has no addresses.
        assert!(here.is_empty() || here.iter().any(IpAddr::is_loopback), "{here:?}");
    }

    #[test]
    fn own_namespace_as_a_file_has_the_same_addresses() {
        // A thread needs CAP_SYS_ADMIN to enter a namespace, even its own.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        assert_eq!(of_mounted_namespace(Path::new("/proc/self/ns/net")), of_process("self"));
        assert_eq!(of_mounted_namespace(Path::new("/nowhere")), HashSet::new());
    }
}
