//! The way to a server through an HTTP proxy, by `CONNECT`.

use std::time::Duration;

use hyper_util::client::{
    legacy::connect::{HttpConnector, proxy::Tunnel},
    proxy::matcher::Matcher,
};
use tonic::codegen::http::Uri;

/// A way through a proxy.
pub(super) type Proxied = Tunnel<HttpConnector>;

/// Returns the way to an address through a proxy: one that was set, else the environment's (`HTTPS_PROXY` with TLS,
/// `HTTP_PROXY` without, `ALL_PROXY`; also in small letters), unless `NO_PROXY` has the address or it is this machine's.
/// A name and a password in the proxy's address are sent to it.
///
/// # Errors
/// The reason why a proxy cannot be used.
pub(super) fn way_to(target: &Uri, proxy: Option<&str>, connect_timeout: Duration) -> Result<Option<Proxied>, String> {
    let host = target.host().unwrap_or_default();
    let is_here =
        host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let matcher = match proxy {
        Some(proxy) => Matcher::builder().all(proxy).build(),
        None if is_here => return Ok(None),
        None => Matcher::from_env(),
    };
    let Some(intercept) = matcher.intercept(target) else {
        return match proxy {
            Some(_) => Err("not the address of a proxy, such as http://proxy:3128".into()),
            None => Ok(None),
        };
    };
    // Its own text may have a password.
    if intercept.uri().scheme_str() != Some("http") {
        let scheme = intercept.uri().scheme_str().unwrap_or_default();
        return Err(format!("`{scheme}` to a proxy, where only `http` is known"));
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(connect_timeout));
    let tunnel = Tunnel::new(intercept.uri().clone(), connector);
    Ok(Some(match intercept.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(target: &str, proxy: Option<&str>) -> Result<bool, String> {
        way_to(&target.parse().unwrap(), proxy, Duration::from_secs(1)).map(|way| way.is_some())
    }

    #[test]
    fn proxy_is_used_when_it_is_set_and_can_be() {
        assert_eq!(way("https://spark:443", Some("http://me:secret@proxy:3128")), Ok(true));
        let error = way("https://spark:443", Some("https://me:secret@proxy:3128")).unwrap_err();
        assert!(error.contains("`https`") && !error.contains("secret"), "{error}");
        assert!(way("https://spark:443", Some("")).is_err());
    }

    #[test]
    fn this_machine_is_reached_without_the_environments_proxy() {
        for here in ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"] {
            assert_eq!(way(here, None), Ok(false), "{here}");
        }
    }
}
