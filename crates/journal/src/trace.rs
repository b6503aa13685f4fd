//! W3C trace context: which trace a request belongs to. Read as <https://www.w3.org/TR/trace-context-2/> says.

use std::fmt;
use std::sync::Arc;

/// Members of a `tracestate` at most; a longer one is dropped whole.
const MAX_MEMBERS: usize = 32;
const MAX_VALUE: usize = 256;

/// 16 bytes, not all of them zero. Its text is 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// 8 bytes, not all of them zero. Its text is 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// The place of a request in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: TraceId,
    /// Of the request as we serve it.
    pub span_id: SpanId,
    /// Of the caller; `None` where the trace begins here.
    pub parent_id: Option<SpanId>,
    /// Whether its spans are recorded.
    pub sampled: bool,
    /// The caller's `tracestate`, valid; `None` for none.
    pub state: Option<Arc<str>>,
}

/// What a caller says of its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub trace_id: TraceId,
    pub parent_id: SpanId,
    pub sampled: bool,
    pub state: Option<Arc<str>>,
}

impl Caller {
    /// Reads the lines of the two headers. `None` where there is not exactly one valid `traceparent`: the
    /// trace then begins here. A `tracestate` that is not valid is dropped alone.
    pub fn read<'a>(
        mut traceparent: impl Iterator<Item = &'a str>,
        tracestate: impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        let (Some(only), None) = (traceparent.next(), traceparent.next()) else { return None };
        let (trace_id, parent_id, sampled) = parent(only.trim_matches([' ', '\t']))?;
        Some(Self { trace_id, parent_id, sampled, state: state(tracestate).map(Into::into) })
    }
}

impl TraceContext {
    /// The `traceparent` of a call made for this request under the span `child`.
    pub fn traceparent(&self, child: SpanId) -> String {
        format!("00-{}-{child}-0{}", self.trace_id, u8::from(self.sampled))
    }
}

/// Version 00, or what of a later version is as in version 00.
fn parent(text: &str) -> Option<(TraceId, SpanId, bool)> {
    let (fields, rest) = text.split_at_checked(55)?;
    let mut parts = fields.split('-');
    let [version] = hex(parts.next()?)?;
    let known = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    let (trace_id, parent_id, [flags]) = (hex(parts.next()?)?, hex(parts.next()?)?, hex(parts.next()?)?);
    let valid = known && parts.next().is_none() && trace_id != [0; 16] && parent_id != [0; 8];
    valid.then_some((TraceId(trace_id), SpanId(parent_id), flags & 1 == 1))
}

/// Lower-case digits, as many as `N` bytes have.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let (mut out, bytes) = ([0; N], text.as_bytes());
    if bytes.len() != 2 * N {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// The members of all lines, the first of each key; `None` where there are none or one is not valid.
fn state<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    for member in lines.flat_map(|line| line.split(',')) {
        let member = member.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) {
            return None;
        }
        if members.iter().all(|(earlier, _)| *earlier != key) {
            members.push((key, value));
        }
        if members.len() > MAX_MEMBERS {
            return None;
        }
    }
    let joined: Vec<String> = members.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (!joined.is_empty()).then(|| joined.join(","))
}

/// `key`, or `tenant@system`.
fn is_key(key: &str) -> bool {
    let rest = |text: &str| {
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b))
    };
    let letter = |text: &str| text.starts_with(|c: char| c.is_ascii_lowercase());
    let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    match key.split_once('@') {
        None => key.len() <= 256 && (letter(key) || digit(key)) && rest(key),
        Some((tenant, system)) => {
            let tenant_fits = tenant.len() <= 241 && (letter(tenant) || digit(tenant)) && rest(tenant);
            tenant_fits && system.len() <= 14 && letter(system) && rest(system)
        }
    }
}

/// Printable ASCII without `,` and `=`, not ending in a blank.
fn is_value(value: &str) -> bool {
    let printable = value.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b',' && b != b'=');
    !value.is_empty() && value.len() <= MAX_VALUE && printable && !value.ends_with(' ')
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(parent: &[&str], state: &[&str]) -> Option<Caller> {
        Caller::read(parent.iter().copied(), state.iter().copied())
    }

    fn state_of(lines: &[&str]) -> Option<String> {
        read(&[PARENT], lines).unwrap().state.map(|state| state.to_string())
    }

    #[test]
    fn a_caller_s_trace_goes_on_in_a_child() {
        let caller = read(&[PARENT], &["a=1"]).unwrap();
        assert_eq!(caller.parent_id.to_string(), "00f067aa0ba902b7");
        let span_id = SpanId([1; 8]);
        let context = TraceContext {
            trace_id: caller.trace_id,
            span_id,
            parent_id: Some(caller.parent_id),
            sampled: caller.sampled,
            state: caller.state,
        };
        let expected = "00-4bf92f3577b34da6a3ce929d0e0e4736-0202020202020202-01";
        assert_eq!(context.traceparent(SpanId([2; 8])), expected);
    }

    #[test]
    fn only_the_lowest_flag_is_read() {
        let sampled = |flags: &str| read(&[&format!("{}{flags}", &PARENT[..53])], &[]).unwrap().sampled;
        assert_eq!((sampled("00"), sampled("03"), sampled("fe")), (false, true, false));
    }

    #[test]
    fn what_is_no_traceparent_begins_a_trace() {
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let no_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let upper = PARENT.to_uppercase();
        let (longer, version) = (format!("{PARENT}-x"), format!("ff{}", &PARENT[2..]));
        let odd = PARENT.replace("-01", "-0x");
        for wrong in ["", "00", zeros, no_parent, &upper, &longer, &version, &odd, &PARENT[..54], "é"] {
            assert_eq!(read(&[wrong], &[]), None, "{wrong}");
        }
        assert_eq!(read(&[PARENT, PARENT], &[]), None);
        assert_eq!(read(&[], &["a=1"]), None);
    }

    #[test]
    fn later_versions_are_read_as_this_one() {
        let of = |version: &str, rest: &str| read(&[&format!("{version}{}{rest}", &PARENT[2..])], &[]);
        assert!(of("cc", "").is_some() && of("cc", "-what-comes").is_some());
        assert_eq!(of("cc", ".what-comes"), None);
    }

    #[test]
    fn members_of_all_lines_are_one_state() {
        assert_eq!(state_of(&["foo=1 \t , \t bar=2", "", "baz=3,foo=4"]).unwrap(), "foo=1,bar=2,baz=3");
        assert_eq!(state_of(&[]), None);
        let key = format!("{}@{}", "t".repeat(241), "v".repeat(14));
        assert!(state_of(&[&format!("{key}=1")]).is_some());
        assert!(state_of(&["a-*/_0= x<>~"]).is_some());
    }

    #[test]
    fn a_state_with_a_wrong_member_is_dropped_whole() {
        let long_key = format!("{}=1", "z".repeat(257));
        let (tenant, system) = (format!("{}@v=1", "t".repeat(242)), format!("t@{}=1", "v".repeat(15)));
        let long_value = format!("a={}", "x".repeat(257));
        let many = (0..33).map(|n| format!("bar{n}=1")).collect::<Vec<_>>().join(",");
        for wrong in [
            "foo =1",
            "FOO=1",
            "foo@=1",
            "@foo=1",
            "foo@@bar=1",
            "foo@bar@baz=1",
            "foo=bar=baz",
            "foo=",
            "foo",
            "foo=\u{7f}",
            &long_key,
            &tenant,
            &system,
            &long_value,
            &many,
        ] {
            assert_eq!(state_of(&[&format!("ok=1,{wrong}")]), None, "{wrong}");
        }
    }

    #[test]
    fn text_has_leading_zeros() {
        let mut text = String::new();
        write!(text, "{} {:?}", SpanId([0, 0, 0, 0, 0, 0, 0, 1]), TraceId([1; 16])).unwrap();
        assert_eq!(text, "0000000000000001 01010101010101010101010101010101");
    }
}
