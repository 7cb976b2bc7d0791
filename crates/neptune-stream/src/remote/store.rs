//! From a URL and options to an object store.

use std::sync::Arc;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use url::Url;

use crate::connector::Options;
use crate::error::StreamError;
use crate::remote::Remote;

/// Seconds for which a request is tried again before it fails, unless told otherwise.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
const RETRY_SECONDS: u64 = 30;

/// A store, or why its options make none.
type Built = Result<Arc<dyn ObjectStore>, object_store::Error>;

/// The schemes of all stores, whether they were built or not.
const KNOWN: [&str; 7] = ["s3", "s3a", "gs", "az", "azure", "abfs", "abfss"];

/// Options every store has.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
const CLIENT: [&str; 4] = ["allow_http", "connect_timeout", "proxy_url", "timeout"];

/// Options of `s3://`. What is left out is taken from the environment, as `AWS_ACCESS_KEY_ID`, or from the machine.
#[cfg(feature = "aws")]
const AWS: [&str; 13] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region",
    "region",
    "aws_endpoint",
    "endpoint",
    "aws_virtual_hosted_style_request",
    "aws_skip_signature",
    "aws_unsigned_payload",
    "aws_server_side_encryption",
    "aws_sse_kms_key_id",
    "aws_request_payer",
];

/// Options of `gs://`.
#[cfg(feature = "gcp")]
const GCP: [&str; 5] = [
    "google_service_account",
    "google_service_account_key",
    "google_application_credentials",
    "google_base_url",
    "google_skip_signature",
];

/// Options of `az://`.
#[cfg(feature = "azure")]
const AZURE: [&str; 10] = [
    "azure_storage_account_name",
    "azure_storage_account_key",
    "azure_storage_sas_key",
    "azure_storage_token",
    "azure_storage_client_id",
    "azure_storage_client_secret",
    "azure_storage_tenant_id",
    "azure_storage_endpoint",
    "azure_storage_use_emulator",
    "azure_skip_signature",
];

/// Opens the place that `url` names; nothing is requested.
///
/// # Errors
/// [`StreamError::Option`] for a scheme there is no store for, and options that cannot be used.
pub(crate) fn open(url: &Url, options: &mut Options<'_>) -> Result<Remote, StreamError> {
    let refused = |reason: String, help: &str| StreamError::Option {
        key: "path".to_owned(),
        value: url.to_string(),
        reason,
        help: help.to_owned(),
    };
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return Err(refused(
            "it names no bucket".to_owned(),
            "write SCHEME://BUCKET/NAME",
        ));
    };
    let path = ObjectPath::from_url_path(url.path())
        .map_err(|error| refused(error.to_string(), "write SCHEME://BUCKET/NAME"))?;
    let Some(store) = build(url, options)? else {
        let scheme = url.scheme();
        return Err(match KNOWN.contains(&scheme) {
            true => refused(
                format!("this program was built without {scheme}://"),
                "build it with the cargo features aws, gcp or azure",
            ),
            false => refused(
                format!("there are no files at {scheme}://"),
                "use a path, or file://, s3://, gs:// or az://",
            ),
        });
    };
    let store = store.map_err(|error| {
        refused(
            error.to_string(),
            "check the options of the store, and the environment",
        )
    })?;
    Remote::new(store, format!("{}://{host}", url.scheme()), path)
}

/// The store of a URL, or why there is none; `None` for a scheme that is not built.
#[cfg_attr(
    not(any(feature = "aws", feature = "azure", feature = "gcp")),
    allow(unused_variables)
)]
fn build(url: &Url, options: &mut Options<'_>) -> Result<Option<Built>, StreamError> {
    Ok(match url.scheme() {
        #[cfg(feature = "aws")]
        "s3" | "s3a" => Some(aws(url, options)?),
        #[cfg(feature = "gcp")]
        "gs" => Some(gcp(url, options)?),
        #[cfg(feature = "azure")]
        "az" | "azure" | "abfs" | "abfss" => Some(azure(url, options)?),
        _ => None,
    })
}

/// The options of `keys` that are given, each put into a builder.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn configured<B, K: std::str::FromStr<Err = object_store::Error>>(
    mut builder: B,
    keys: &[&'static str],
    options: &mut Options<'_>,
    put: impl Fn(B, K, String) -> B,
) -> Result<B, StreamError> {
    for key in keys.iter().chain(&CLIENT).copied() {
        let flag = key == "allow_http" || key.contains("_skip_") || key.contains("_use_");
        let value = match flag {
            true => options.flag(key)?.map(|on| on.to_string()),
            false => options.text(key).map(str::to_owned),
        };
        let Some(value) = value else {
            continue;
        };
        let known = key.parse::<K>().map_err(|error| StreamError::Option {
            key: key.to_owned(),
            value: value.clone(),
            reason: error.to_string(),
            help: "leave it out".to_owned(),
        })?;
        builder = put(builder, known, value);
    }
    Ok(builder)
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn retry(options: &mut Options<'_>) -> Result<object_store::RetryConfig, StreamError> {
    let seconds = options.number("retry_timeout_s", 0)?;
    Ok(object_store::RetryConfig {
        retry_timeout: Duration::from_secs(seconds.unwrap_or(RETRY_SECONDS)),
        ..Default::default()
    })
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn connector() -> Result<object_store::client::SpawnedReqwestConnector, StreamError> {
    let handle = crate::remote::io::handle()?;
    Ok(object_store::client::SpawnedReqwestConnector::new(handle))
}

#[cfg(feature = "aws")]
fn aws(url: &Url, options: &mut Options<'_>) -> Result<Built, StreamError> {
    use object_store::aws::AmazonS3Builder as Builder;
    let builder = Builder::from_env()
        .with_retry(retry(options)?)
        .with_http_connector(connector()?)
        .with_url(url.as_str());
    let builder = configured(builder, &AWS, options, Builder::with_config)?;
    Ok(builder.build().map(|store| Arc::new(store) as _))
}

#[cfg(feature = "gcp")]
fn gcp(url: &Url, options: &mut Options<'_>) -> Result<Built, StreamError> {
    use object_store::gcp::GoogleCloudStorageBuilder as Builder;
    let builder = Builder::from_env()
        .with_retry(retry(options)?)
        .with_http_connector(connector()?)
        .with_url(url.as_str());
    let builder = configured(builder, &GCP, options, Builder::with_config)?;
    Ok(builder.build().map(|store| Arc::new(store) as _))
}

#[cfg(feature = "azure")]
fn azure(url: &Url, options: &mut Options<'_>) -> Result<Built, StreamError> {
    use object_store::azure::MicrosoftAzureBuilder as Builder;
    let builder = Builder::from_env()
        .with_retry(retry(options)?)
        .with_http_connector(connector()?)
        .with_url(url.as_str());
    let builder = configured(builder, &AZURE, options, Builder::with_config)?;
    Ok(builder.build().map(|store| Arc::new(store) as _))
}
