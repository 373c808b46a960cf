//! From a URL and the environment to a client: endpoint, region, credentials, TLS and timeouts.
//!
//! Everything but the URL's own options comes from where the SDKs look: `AWS_*` variables, profiles, web identity (EKS service
//! accounts), container and instance roles. A profile that the URL names comes before all of these, a credentials file of a tenant
//! instead of them. The SDK never retries: [`crate::store::retry`] is the one layer that does.

use crate::store::{Error, ErrorKind, Result, roots};
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
#[expect(
    deprecated,
    reason = "the new name is of a crate that is not depended on otherwise"
)]
use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder as HttpBuilder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use std::path::PathBuf;
use std::time::Duration;

/// To the store's address: a host that does not answer by then is down or behind a firewall.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the request to the first byte of its answer, the sending of a part included: 8 MiB at 1 Mbit/s take 67 s.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(120);
/// A body that does not move for this long is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// What a server of one's own is asked for when nobody names a region; such servers take any.
const REGION_OF_OWN_SERVERS: &str = "us-east-1";
/// The section of a credentials file that is meant when none is named.
const PROFILE_DEFAULT: &str = "default";

/// What the URL says of the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) path_style: bool,
    pub(super) profile: Option<String>,
    pub(super) who: Who,
}

/// In whose name requests are made.
#[derive(Clone, Debug, Default)]
pub(super) enum Who {
    /// Whom the environment names, or a profile of its files.
    #[default]
    Environment,
    /// Whom this file names, and nobody else.
    File(PathBuf),
    /// Whom the caller names.
    Given(Credentials),
}

/// A client, and whether its requests are encrypted on the way.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) tls: bool,
}

/// Makes a client. Nothing is sent to the store yet; credentials are looked up at the first request.
///
/// # Errors
/// [`ErrorKind::Tls`] when this host has no root certificates and the endpoint needs them; [`ErrorKind::Permanent`] when no
/// region is known.
pub(super) async fn connect(options: &Options, name: &str) -> Result<Connected> {
    let fail = |kind, cause: String| Error::new(kind, "open", "the bucket", name).because(cause);
    let (http, why_no_tls) = http_client();
    let config = load(options, http).await;
    let endpoint = options.endpoint.clone().or_else(|| endpoint_of(&config));
    let tls = !endpoint
        .as_deref()
        .is_some_and(|endpoint| endpoint.starts_with("http://"));
    if let (true, Some(why)) = (tls, why_no_tls) {
        return Err(fail(ErrorKind::Tls, why));
    }
    if config.region().is_none() && endpoint.is_none() {
        return Err(fail(
            ErrorKind::WrongRegion,
            "no region is set: add ?region=... to the URL, or set AWS_REGION".to_owned(),
        ));
    }
    let mut builder = aws_sdk_s3::config::Builder::from(&config)
        .force_path_style(options.path_style)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if config.region().is_none() {
        builder = builder.region(Region::new(REGION_OF_OWN_SERVERS));
    }
    Ok(Connected {
        client: Client::from_conf(builder.build()),
        tls,
    })
}

/// The endpoint of the environment or the profile. The SDK applies it by itself; here it tells whether TLS is used.
fn endpoint_of(config: &SdkConfig) -> Option<String> {
    std::env::var("AWS_ENDPOINT_URL_S3")
        .ok()
        .filter(|endpoint| !endpoint.is_empty())
        .or_else(|| config.endpoint_url().map(str::to_owned))
}

async fn load(options: &Options, http: SharedHttpClient) -> SdkConfig {
    let named = options.region.clone().map(Region::new);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(FIRST_BYTE_TIMEOUT)
                .build(),
        )
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .grace_period(STALL_TIMEOUT)
                .build(),
        );
    loader = match (&named, &options.endpoint) {
        (Some(region), _) => loader.region(region.clone()),
        // With a server of one's own, nobody waits for the instance metadata of a cloud that is not there.
        (None, Some(_)) => loader.region(
            RegionProviderChain::first_try(
                aws_config::environment::EnvironmentVariableRegionProvider::new(),
            )
            .or_else(Region::new(REGION_OF_OWN_SERVERS)),
        ),
        (None, None) => loader,
    };
    if let Who::Given(credentials) = &options.who {
        loader = loader.credentials_provider(credentials.clone());
    }
    if let Some(endpoint) = &options.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    match (&options.who, &options.profile) {
        (Who::File(path), profile) => {
            let profile = profile.as_deref().unwrap_or(PROFILE_DEFAULT);
            #[expect(
                deprecated,
                reason = "the new name is of a crate that is not depended on otherwise"
            )]
            let files = ProfileFiles::builder()
                .with_file(ProfileFileKind::Credentials, path)
                .build();
            with_profile(loader.load().await, profile, Some(files))
        }
        (Who::Environment | Who::Given(_), None) => loader.load().await,
        (Who::Environment | Who::Given(_), Some(profile)) => {
            with_profile(loader.profile_name(profile).load().await, profile, None)
        }
    }
}

/// The SDK would look for the profile's credentials after those of the environment; who names one means that one.
#[expect(
    deprecated,
    reason = "the new name is of a crate that is not depended on otherwise"
)]
fn with_profile(config: SdkConfig, profile: &str, files: Option<ProfileFiles>) -> SdkConfig {
    let mut provider = ProviderConfig::without_region().with_region(config.region().cloned());
    if let Some(http) = config.http_client() {
        provider = provider.with_http_client(http);
    }
    let mut credentials = ProfileFileCredentialsProvider::builder()
        .configure(&provider)
        .profile_name(profile);
    if let Some(files) = files {
        credentials = credentials.profile_files(files);
    }
    config
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials.build()))
        .build()
}

/// A client for HTTP and, where the host has root certificates, HTTPS; and why not.
fn http_client() -> (SharedHttpClient, Option<String>) {
    match roots::missing() {
        None => {
            let builder = HttpBuilder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
            (builder.build_https(), None)
        }
        Some(why) => (HttpBuilder::new().build_http(), Some(why)),
    }
}
