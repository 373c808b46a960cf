//! The store's clock: the `Date` of any answer (RFC 9110 section 6.6.1), also of a refusal.

use super::roots;
use crate::model::url::Location;
use crate::model::{Micros, StoreUrl};
use std::time::Duration;

/// Somebody waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where Google's own clients look for an emulator, too.
const EMULATOR: &str = "STORAGE_EMULATOR_HOST";

/// The time of the store at `url`, to the second. `None` where that cannot be told: a directory has this host's clock, and
/// a server that cannot be reached has been told of elsewhere.
pub async fn server_time(url: &StoreUrl) -> Option<Micros> {
    let address = address(url, |name| {
        std::env::var(name).ok().filter(|v| !v.is_empty())
    })?;
    if address.starts_with("https://") && roots::missing().is_some() {
        return None;
    }
    // The process has one provider of cryptography for all clients; whoever set it first was as right.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .ok()?;
    // Without credentials: a refusal has a date as well, and signed requests fail where the clock is wrong.
    let answer = client.head(address).send().await.ok()?;
    let date = answer.headers().get("date")?.to_str().ok()?;
    parse(date)
}

fn parse(date: &str) -> Option<Micros> {
    let zoned = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(Micros(zoned.timestamp().as_microsecond()))
}

fn address(url: &StoreUrl, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if url.endpoint.is_some() {
        return match url.location {
            Location::File { .. } => None,
            _ => url.endpoint.clone(),
        };
    }
    match &url.location {
        Location::File { .. } => None,
        Location::Gcs { .. } => Some(match variable(EMULATOR) {
            Some(host) if host.contains("://") => host,
            Some(host) => format!("http://{host}"),
            None => "https://storage.googleapis.com".to_owned(),
        }),
        Location::S3 { .. } => {
            let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
            // All regions keep one time; this address is there in each account and partition but China's.
            Some(endpoint.unwrap_or_else(|| "https://s3.amazonaws.com".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_answers_are_read() {
        let time = parse("Wed, 21 Oct 2015 07:28:00 GMT").expect("a date");
        assert_eq!(time.to_string(), "2015-10-21T07:28:00Z");
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn who_is_asked_follows_the_url_and_then_the_environment() {
        let url = |text: &str| text.parse::<StoreUrl>().expect("a URL");
        let none = |_: &str| None;
        assert_eq!(address(&url("file:///srv"), none), None);
        let own = url("s3://b/p?endpoint=http://h:9000");
        assert_eq!(address(&own, none).as_deref(), Some("http://h:9000"));
        let variable = |name: &str| (name == EMULATOR).then(|| "h:1".to_owned());
        let asked = address(&url("gs://b/p"), variable);
        assert_eq!(asked.as_deref(), Some("http://h:1"));
        let variable = |name: &str| (name == "AWS_ENDPOINT_URL").then(|| "http://e".to_owned());
        let asked = address(&url("s3://b/p"), variable);
        assert_eq!(asked.as_deref(), Some("http://e"));
        let asked = address(&url("s3://b/p"), none);
        assert!(asked.is_some_and(|a| a.starts_with("https://s3.")));
    }
}
