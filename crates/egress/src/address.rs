//! Which addresses may be connected to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Public addresses are allowed. Loopback and private ones only when a rule names them; link-local ones,
/// where clouds keep their metadata service, never.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    rules: Vec<Rule>,
    only: Option<Vec<IpAddr>>,
}

/// One entry of `egress.allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    what: What,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Network {
        base: IpAddr,
        prefix: u8,
    },
    /// A host by the name that stands in the URL, whatever private address it resolves to.
    Host(String),
}

/// An entry of `egress.allow` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRule(String);

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no address, CIDR range, host name or one of these with :port", self.0)
    }
}

impl std::error::Error for BadRule {}

/// An address that the policy does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    pub host: String,
    pub address: IpAddr,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address } = self;
        let class = Class::of(*address);
        match host.parse::<IpAddr>() {
            Ok(_) => write!(f, "{host} is a {} address", class.as_str())?,
            Err(_) => write!(f, "{host} resolves to the {} address {address}", class.as_str())?,
        }
        match class {
            Class::LinkLocal | Class::Unusable => f.write_str(", which upstreams can never be on"),
            Class::Public | Class::Loopback | Class::Private => {
                f.write_str(", which egress.allow does not list")
            }
        }
    }
}

impl AddressPolicy {
    /// Reads the entries of `egress.allow`: `127.0.0.1`, `10.0.0.0/8`, `[::1]:8080`, `vllm.internal`,
    /// `localhost:9000`, or a whole `http://host:port`.
    pub fn new<S: AsRef<str>>(entries: &[S]) -> Result<Self, BadRule> {
        let rules = entries.iter().map(|e| Rule::parse(e.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { rules, only: None })
    }

    /// Exactly these addresses, link-local ones too, and no public one: for what the machine itself is told,
    /// never for upstreams.
    pub fn only(addresses: &[IpAddr]) -> Self {
        Self { rules: Vec::new(), only: Some(addresses.to_vec()) }
    }

    /// Whether `address`, to which `host` resolved, may be connected to on `port`.
    pub fn check(&self, host: &str, address: IpAddr, port: u16) -> Result<(), Denied> {
        let address = canonical(address);
        let allowed = match (&self.only, Class::of(address)) {
            (Some(only), _) => only.contains(&address),
            (None, Class::Public) => true,
            (None, Class::LinkLocal | Class::Unusable) => false,
            (None, Class::Loopback | Class::Private) => {
                self.rules.iter().any(|r| r.allows(host, address, port))
            }
        };
        if allowed { Ok(()) } else { Err(Denied { host: host.to_owned(), address }) }
    }
}

impl Rule {
    fn parse(entry: &str) -> Result<Self, BadRule> {
        let bad = || BadRule(entry.to_owned());
        let text = entry.trim();
        let text = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
        let text = text.trim_end_matches('/');
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self { what: What::single(address), port: None });
        }
        if let Some((base, prefix)) = text.split_once('/') {
            let base = base.parse::<IpAddr>().map_err(|_| bad())?;
            let prefix = prefix.parse::<u8>().ok().filter(|p| *p <= width(base)).ok_or_else(bad)?;
            return Ok(Self { what: What::Network { base, prefix }, port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse::<u16>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let what = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => What::single(address),
            Err(_) if is_host(host) => What::Host(host.to_ascii_lowercase()),
            Err(_) => return Err(bad()),
        };
        Ok(Self { what, port })
    }

    fn allows(&self, host: &str, address: IpAddr, port: u16) -> bool {
        self.port.is_none_or(|p| p == port)
            && match &self.what {
                What::Network { base, prefix } => contains(*base, *prefix, address),
                What::Host(name) => name.eq_ignore_ascii_case(host),
            }
    }
}

impl What {
    fn single(address: IpAddr) -> Self {
        let base = canonical(address);
        Self::Network { base, prefix: width(base) }
    }
}

fn is_host(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    // A name of digits and dots alone is a mistyped address, not a host.
    !text.is_empty() && text.bytes().all(legal) && text.bytes().any(|b| b.is_ascii_alphabetic())
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn contains(base: IpAddr, prefix: u8, address: IpAddr) -> bool {
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            u32::from(base) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            u128::from(base) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}

/// The IPv4 address inside a mapped, compatible, 6to4 or NAT64 one, so that no spelling hides it.
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    let s = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Public,
    Loopback,
    Private,
    LinkLocal,
    /// Unspecified, multicast, broadcast, reserved.
    Unusable,
}

impl Class {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Unusable => "reserved",
        }
    }

    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(v4: Ipv4Addr) -> Self {
        let [a, b, ..] = v4.octets();
        let benchmark_or_protocol =
            (a == 198 && (b == 18 || b == 19)) || (a == 192 && b == 0 && v4.octets()[2] == 0);
        match (a, b) {
            // Alibaba Cloud's metadata service lies in the shared range; it is as closed as link-local.
            _ if v4 == Ipv4Addr::new(100, 100, 100, 200) => Self::LinkLocal,
            _ if v4.is_link_local() => Self::LinkLocal,
            _ if v4.is_loopback() => Self::Loopback,
            (100, 64..=127) => Self::Private,
            _ if v4.is_private() || benchmark_or_protocol => Self::Private,
            (0, _) | (224..=255, _) => Self::Unusable,
            _ => Self::Public,
        }
    }

    fn of_v6(v6: Ipv6Addr) -> Self {
        let first = v6.segments()[0];
        if v6.is_loopback() {
            Self::Loopback
        } else if first & 0xffc0 == 0xfe80 {
            Self::LinkLocal
        } else if first & 0xfe00 == 0xfc00 {
            Self::Private
        } else if v6.is_unspecified() || first & 0xff00 == 0xff00 {
            Self::Unusable
        } else {
            Self::Public
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(rules: &[&str], host: &str, address: &str, port: u16) -> bool {
        AddressPolicy::new(rules).unwrap().check(host, address.parse().unwrap(), port).is_ok()
    }

    #[test]
    fn public_addresses_are_open_and_all_else_is_closed() {
        for open in ["8.8.8.8", "2606:4700::1111", "99.1.2.3"] {
            assert!(allowed(&[], "h", open, 443), "{open}");
        }
        for closed in [
            "127.0.0.1",
            "127.8.8.8",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::7f00:1",
            "100.100.100.200",
        ] {
            assert!(!allowed(&[], "h", closed, 443), "{closed}");
        }
    }

    #[test]
    fn rules_open_what_they_name() {
        assert!(allowed(&["127.0.0.1"], "x", "127.0.0.1", 1));
        assert!(!allowed(&["127.0.0.1"], "x", "127.0.0.2", 1));
        assert!(allowed(&["127.0.0.1"], "x", "::ffff:127.0.0.1", 1));
        assert!(allowed(&["10.0.0.0/8"], "x", "10.9.9.9", 1));
        assert!(allowed(&["127.0.0.1:9200"], "x", "127.0.0.1", 9200));
        assert!(!allowed(&["127.0.0.1:9200"], "x", "127.0.0.1", 9201));
        assert!(allowed(&["[::1]:80"], "x", "::1", 80));
        assert!(allowed(&["http://127.0.0.1:9200/"], "x", "127.0.0.1", 9200));
        assert!(allowed(&["vllm.internal"], "VLLM.internal", "10.1.1.1", 1));
        assert!(!allowed(&["vllm.internal"], "other", "10.1.1.1", 1));
    }

    #[test]
    fn no_rule_opens_link_local() {
        assert!(!allowed(&["0.0.0.0/0", "169.254.169.254", "evil"], "evil", "169.254.169.254", 80));
        assert!(!allowed(&["::/0"], "x", "fe80::1", 80));
    }

    #[test]
    fn a_closed_list_opens_its_addresses_and_nothing_else() {
        let metadata: IpAddr = "169.254.169.254".parse().unwrap();
        let policy = AddressPolicy::only(&[metadata]);
        assert!(policy.check("h", metadata, 80).is_ok());
        for closed in ["169.254.170.2", "127.0.0.1", "8.8.8.8", "10.0.0.1", "fe80::1"] {
            assert!(policy.check("h", closed.parse().unwrap(), 80).is_err(), "{closed}");
        }
        assert!(AddressPolicy::default().check("h", metadata, 80).is_err());
    }

    #[test]
    fn unreadable_rules_are_refused() {
        for bad in ["", "10.0.0.0/33", "1.2.3", "a b", "host:99999", "0x7f.1/8"] {
            assert!(AddressPolicy::new(&[bad]).is_err(), "{bad}");
        }
    }
}
