//! Spark's connection string, `sc://host:port/;key=value;…`.

use std::{fmt, str::FromStr, time::Duration};

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use uuid::Uuid;

use crate::{Error, Result};

const DEFAULT_PORT: u16 = 15002;
const MAX_USER_AGENT: usize = 2048;

/// A parsed connection string.
///
/// The form is Spark's own: `sc://host[:port][/;key=value;…]`, values percent-encoded where needed.
///
/// | key | meaning | default |
/// |---|---|---|
/// | (port) | TCP port | 15002 |
/// | `use_ssl` | `true` or `false`: TLS | `true` when there is a token and the host is not loopback, else `false` |
/// | `token` | bearer token; never sent in clear to a host that is not loopback | `SPARK_CONNECT_AUTHENTICATE_TOKEN` |
/// | `user_id` | user on whose behalf the session runs | `SPARK_USER`, else `USER`, else "tinderbox" |
/// | `user_agent` | put before our own name in the client type, at most 2048 bytes | `SPARK_CONNECT_USER_AGENT` |
/// | `session_id` | UUID of the session to join | a new one |
/// | `connect_timeout` | seconds to wait for a server that is still starting, such as `60` | 0: a refused connection fails at once |
/// | any other | sent as a gRPC header with every request | none |
///
/// `Display` and `Debug` mask the token and the values of headers.
///
/// ```
/// use tinderbox::connect::ConnectUrl;
/// let url: ConnectUrl = "sc://spark.example.com:443/;token=abc%3D;x-team=fire".parse()?;
/// assert_eq!(url.address(), "spark.example.com:443");
/// assert!(url.use_ssl());
/// assert_eq!(url.to_string(), "sc://spark.example.com:443/;token=***;x-team=***");
/// # Ok::<(), tinderbox::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectUrl {
    host: String,
    port: u16,
    use_ssl: Option<bool>,
    token: Option<String>,
    user_id: Option<String>,
    user_agent: Option<String>,
    session_id: Option<Uuid>,
    wait_for_server: Option<Duration>,
    headers: Vec<(String, String)>,
}

impl ConnectUrl {
    /// Returns the host name or address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns `host:port`, as errors name it.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Returns whether the connection is encrypted.
    pub fn use_ssl(&self) -> bool {
        self.use_ssl.unwrap_or_else(|| self.token.is_some() && !self.is_loopback())
    }

    /// Returns whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Returns the session to join, if the string names one.
    pub fn session_id(&self) -> Option<Uuid> {
        self.session_id
    }

    /// Returns the user the string names.
    pub fn user_id(&self) -> Option<&str> {
        self.user_id.as_deref()
    }

    /// Returns the time to wait for a server that is still starting (`connect_timeout`).
    pub(super) fn wait_for_server(&self) -> Option<Duration> {
        self.wait_for_server
    }

    /// Returns the string with its defaults filled in and without what does not say who talks to which server, so that
    /// two strings with the same meaning are equal.
    pub(super) fn identity(&self, user: &str) -> ConnectUrl {
        let mut identity = self.clone();
        identity.use_ssl = Some(self.use_ssl());
        identity.user_id = Some(user.to_owned());
        identity.user_agent = None;
        identity.wait_for_server = None;
        identity.host.make_ascii_lowercase();
        identity.headers.sort();
        identity
    }

    /// Returns the client type to send: the caller's `user_agent`, then this crate, Rust and the operating system.
    pub(super) fn client_type(&self) -> String {
        let own = concat!("tinderbox/", env!("CARGO_PKG_VERSION"));
        let os = std::env::consts::OS;
        match &self.user_agent {
            Some(agent) => format!("{agent} {own} os/{os}"),
            None => format!("{own} os/{os}"),
        }
    }

    /// Returns the bearer token, if any.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Returns the extra gRPC headers.
    pub(super) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Takes the token and the user agent from the environment when the string names none, as PySpark does.
    pub(super) fn with_environment(self) -> Result<Self> {
        let from = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        self.with_defaults(from("SPARK_CONNECT_AUTHENTICATE_TOKEN"), from("SPARK_CONNECT_USER_AGENT"))
    }

    fn with_defaults(mut self, token: Option<String>, user_agent: Option<String>) -> Result<Self> {
        self.token = self.token.or(token);
        self.user_agent = self.user_agent.or(user_agent);
        if let Some(agent) = self.user_agent.as_ref().filter(|agent| agent.len() > MAX_USER_AGENT) {
            return Err(self.bad(format!("the user agent has {} bytes: at most {MAX_USER_AGENT}", agent.len())));
        }
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<()> {
        if let Some(token) = &self.token {
            if self.use_ssl == Some(false) && !self.is_loopback() {
                return Err(self.bad("a token would travel in clear: drop `use_ssl=false`"));
            }
            if AsciiMetadataValue::try_from(format!("Bearer {token}")).is_err() {
                return Err(self.bad("`token` holds characters that an HTTP header cannot carry"));
            }
        }
        Ok(())
    }

    fn bad(&self, reason: impl Into<String>) -> Error {
        Error::BadAddress { url: self.to_string(), reason: reason.into() }
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match key {
            "use_ssl" => {
                self.use_ssl = Some(match value.to_ascii_lowercase().as_str() {
                    "true" => true,
                    "false" => false,
                    other => return Err(format!("`use_ssl` is `{other}`: must be `true` or `false`")),
                });
            }
            "token" if value.is_empty() => return Err("`token` is empty".into()),
            "token" => self.token = Some(value),
            "user_id" => self.user_id = Some(value),
            "user_agent" if value.len() > MAX_USER_AGENT => {
                return Err(format!("`user_agent` has {} bytes: at most {MAX_USER_AGENT}", value.len()));
            }
            "user_agent" => self.user_agent = Some(value),
            "session_id" => {
                let id = Uuid::parse_str(&value).map_err(|_| format!("`session_id` is `{value}`: must be a UUID"))?;
                self.session_id = Some(id);
            }
            "connect_timeout" => {
                let seconds: Option<f64> = value.parse().ok();
                let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                let wait = wait.filter(|wait| !wait.is_zero());
                self.wait_for_server =
                    Some(wait.ok_or_else(|| format!("`connect_timeout` is `{value}`: must be seconds above 0"))?);
            }
            header => {
                if header.parse::<AsciiMetadataKey>().is_err() {
                    return Err(format!("`{header}` is neither a known key nor a legal header name"));
                }
                if value.parse::<AsciiMetadataValue>().is_err() {
                    return Err(format!("the value of header `{header}` holds characters that a header cannot carry"));
                }
                self.headers.push((header.to_ascii_lowercase(), value));
            }
        }
        Ok(())
    }
}

impl FromStr for ConnectUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason: String| Error::BadAddress { url: mask(text), reason };
        let rest = text
            .strip_prefix("sc://")
            .ok_or_else(|| bad("must start with `sc://`, as in `sc://localhost:15002`".into()))?;
        let (authority, path) = match rest.find(['/', ';', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let pairs = match path {
            "" | "/" => "",
            path => path.strip_prefix("/;").ok_or_else(|| {
                bad("after host and port only `/;key=value;…` may follow, as in `sc://host:15002/;use_ssl=true`".into())
            })?,
        };
        let (host, port) = split_authority(authority).map_err(&bad)?;
        let mut url = ConnectUrl {
            host,
            port,
            use_ssl: None,
            token: None,
            user_id: None,
            user_agent: None,
            session_id: None,
            wait_for_server: None,
            headers: Vec::new(),
        };
        for pair in pairs.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| bad(format!("`{}` is not of the form `key=value`", mask_value(pair))))?;
            let value = percent_decode(value)
                .ok_or_else(|| bad(format!("the value of `{key}` is not legal percent-encoded UTF-8")))?;
            url.set(key, value).map_err(&bad)?;
        }
        url.check()?;
        Ok(url)
    }
}

fn split_authority(authority: &str) -> Result<(String, u16), String> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("an IPv6 address must end with `]`")?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("`{host}` is not an IPv6 address"));
        }
        (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or("after `]` only `:port` may follow")?)
    } else {
        let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
        if port.contains(':') {
            return Err("an IPv6 address must stand in brackets, as in `sc://[::1]:15002`".into());
        }
        (host, port)
    };
    if host.is_empty() {
        return Err("the host is missing, as in `sc://localhost:15002`".into());
    }
    if host.contains('@') || host.contains(char::is_whitespace) {
        return Err("the host holds illegal characters; a user goes into `user_id=`, a token into `token=`".into());
    }
    match port {
        "" => Ok((host.into(), DEFAULT_PORT)),
        port => match port.parse() {
            Ok(port) if port > 0 => Ok((host.into(), port)),
            _ => Err(format!("`{port}` is not a port: must be 1 to 65535")),
        },
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let [high, low, tail @ ..] = rest else { return None };
            let digit = |c: u8| (c as char).to_digit(16);
            bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

fn percent_encode(text: &str) -> String {
    use fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        match b {
            b if b.is_ascii_alphanumeric() || b"-_.~ ()/:,@+".contains(&b) => out.push(b as char),
            b => _ = write!(out, "%{b:02X}"),
        }
        out
    })
}

/// Returns a string that may not even parse, without anything that could be a secret.
fn mask(text: &str) -> String {
    let (head, pairs) = text.split_once(';').map_or((text, None), |(head, pairs)| (head, Some(pairs)));
    let head = match (head.find("://"), head.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => format!("{}***{}", &head[..scheme + 3], &head[at..]),
        _ => head.to_owned(),
    };
    match pairs {
        None => head,
        Some(pairs) => format!("{head};{}", pairs.split(';').map(mask_value).collect::<Vec<_>>().join(";")),
    }
}

fn mask_value(pair: &str) -> String {
    match pair.split_once('=') {
        Some((key @ ("use_ssl" | "user_id" | "user_agent" | "session_id" | "connect_timeout"), value)) => {
            format!("{key}={value}")
        }
        Some((key, _)) => format!("{key}=***"),
        None if pair.is_empty() => String::new(),
        None => "***".into(),
    }
}

impl fmt::Display for ConnectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sc://{}", self.address())?;
        let mut pairs = Vec::new();
        if let Some(use_ssl) = self.use_ssl {
            pairs.push(format!("use_ssl={use_ssl}"));
        }
        if self.token.is_some() {
            pairs.push("token=***".into());
        }
        if let Some(user) = &self.user_id {
            pairs.push(format!("user_id={}", percent_encode(user)));
        }
        if let Some(agent) = &self.user_agent {
            pairs.push(format!("user_agent={}", percent_encode(agent)));
        }
        if let Some(id) = &self.session_id {
            pairs.push(format!("session_id={id}"));
        }
        if let Some(wait) = self.wait_for_server {
            pairs.push(format!("connect_timeout={}", wait.as_secs_f64()));
        }
        pairs.extend(self.headers.iter().map(|(name, _)| format!("{name}=***")));
        if !pairs.is_empty() {
            write!(f, "/;{}", pairs.join(";"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConnectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ConnectUrl {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        text.parse::<ConnectUrl>().unwrap_err().to_string()
    }

    #[test]
    fn every_documented_key_is_read() {
        let url = parse(
            "sc://spark.example.com:443/;use_ssl=true;token=a%3Db%3B;user_id=Zo%C3%AB;user_agent=etl/2;\
             session_id=3f2504e0-4f89-41d3-9a0c-0305e82c3301;X-Team=fire",
        );
        assert_eq!(url.address(), "spark.example.com:443");
        assert!(url.use_ssl());
        assert_eq!(url.token(), Some("a=b;"));
        assert_eq!(url.user_id(), Some("Zoë"));
        assert_eq!(url.session_id().unwrap().to_string(), "3f2504e0-4f89-41d3-9a0c-0305e82c3301");
        assert_eq!(url.headers(), [("x-team".to_owned(), "fire".to_owned())]);
        assert!(url.client_type().starts_with("etl/2 tinderbox/"));
    }

    #[test]
    fn port_and_path_are_optional() {
        for text in ["sc://h", "sc://h/", "sc://h:15002", "sc://h/;", "sc://h:"] {
            assert_eq!(parse(text).address(), "h:15002", "{text}");
        }
        assert_eq!(parse("sc://[::1]:7").address(), "[::1]:7");
        assert_eq!(parse("sc://[::1]").host(), "::1");
    }

    #[test]
    fn a_token_turns_tls_on_unless_the_host_is_this_machine() {
        assert!(parse("sc://h/;token=t").use_ssl());
        for host in ["localhost", "127.0.0.1", "127.8.9.1", "[::1]"] {
            assert!(!parse(&format!("sc://{host}/;token=t")).use_ssl(), "{host}");
        }
        assert!(refusal("sc://h/;use_ssl=false;token=hush").contains("in clear"));
    }

    #[test]
    fn environment_gives_what_the_string_does_not_name() {
        let with = |text: &str| parse(text).with_defaults(Some("theirs".into()), Some("job/1".into()));
        let url = with("sc://h").unwrap();
        assert_eq!(url.token(), Some("theirs"));
        assert!(url.client_type().starts_with("job/1 tinderbox/"), "{}", url.client_type());
        let url = with("sc://h/;token=mine;user_agent=me").unwrap();
        assert!(url.token() == Some("mine") && url.client_type().starts_with("me "));
        let error = parse("sc://h").with_defaults(None, Some("x".repeat(MAX_USER_AGENT + 1))).unwrap_err();
        assert!(matches!(error, Error::BadAddress { .. }), "{error}");
    }

    #[test]
    fn secrets_are_masked_wherever_the_string_is_shown() {
        let url = parse("sc://h/;token=hush;x-api-key=hush2;user_id=me");
        for shown in [url.to_string(), format!("{url:?}")] {
            assert!(!shown.contains("hush") && shown.contains("user_id=me"), "{shown}");
        }
        for text in [
            "http://hush@h/;token=hush",
            "sc://hush@h",
            "sc://h:x/;token=hush",
            "sc://h/;token=hush;hush",
            "sc://h/;token=%hush",
            "sc://h/;token=hu\nsh",
            "sc://h/;bad key=hush",
        ] {
            assert!(!refusal(text).contains("hush"), "{}", refusal(text));
            assert!(!refusal(text).contains("hu\nsh"), "{}", refusal(text));
        }
    }

    #[test]
    fn identity_ignores_what_is_not_part_of_it_and_keeps_the_rest() {
        let identity = |text: &str| parse(text).identity("ann");
        let same = identity("sc://h:15002/;x-a=1;x-b=2");
        for text in ["sc://H/;x-b=2;x-a=1", "sc://h/;x-a=1;x-b=2;use_ssl=false;user_agent=me;connect_timeout=9"] {
            assert_eq!(identity(text), same, "{text}");
        }
        for text in ["sc://h/;x-a=1", "sc://h/;x-a=1;x-b=2;use_ssl=true", "sc://h:1/;x-a=1;x-b=2"] {
            assert_ne!(identity(text), same, "{text}");
        }
        assert_ne!(parse("sc://h").identity("ann"), parse("sc://h").identity("bob"));
        assert_ne!(identity("sc://localhost/;token=a"), identity("sc://localhost/;token=b"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "sc://"),
            ("http://h", "sc://"),
            ("sc://", "host is missing"),
            ("sc://:15002", "host is missing"),
            ("sc://h:0", "1 to 65535"),
            ("sc://h:99999", "1 to 65535"),
            ("sc://h:port", "1 to 65535"),
            ("sc://::1", "brackets"),
            ("sc://[::1", "]"),
            ("sc://[x]", "IPv6"),
            ("sc://h/path", "/;key=value"),
            ("sc://h;use_ssl=true", "/;key=value"),
            ("sc://h/;use_ssl", "key=value"),
            ("sc://h/;use_ssl=yes", "`true` or `false`"),
            ("sc://h/;session_id=1", "UUID"),
            ("sc://h/;token=", "empty"),
            ("sc://h/;connect_timeout=soon", "seconds above 0"),
            ("sc://h/;connect_timeout=0", "seconds above 0"),
            ("sc://h/;connect_timeout=-1", "seconds above 0"),
        ] {
            assert!(refusal(text).contains(part), "{text}: {}", refusal(text));
        }
    }

    #[test]
    fn what_is_shown_reads_back_the_same_but_for_secrets() {
        let url = parse("sc://h:1/;use_ssl=true;user_id=a%3Bb%25c;user_agent=x%3Dy;connect_timeout=1.5");
        assert_eq!(parse(&url.to_string()), url);
    }
}
