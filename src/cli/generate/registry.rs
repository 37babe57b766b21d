//! Has the shipped schemas registered, under `<topic>-value`, and says their
//! ids. A registry that knows a schema already answers with the id it has.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::json;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::config::Url;
use crate::generate::{Kind, SchemaIds};
use crate::schema::shipped::{CLICKS_V1, DEVICES_V1, TRANSACTIONS_V1, TRANSACTIONS_V2};

/// How long the registry may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Where systems keep the certificates that they trust.
const SYSTEM_CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What a registry answers when all is well.
#[derive(Deserialize)]
struct Registered {
    id: u32,
}

/// Registers the schemas of the streams, of each the older first.
///
/// # Errors
/// When the registry cannot be reached, or refuses.
pub fn register_shipped(url: &str, kinds: &[Kind]) -> anyhow::Result<SchemaIds> {
    let agent = new_agent(url)?;
    let shown = Url::new(url);
    let mut ids = SchemaIds::default();
    for kind in kinds {
        let subject = format!("{}-value", kind.topic());
        let id_of = |schema: &str| {
            register(&agent, url, &subject, schema)
                .with_context(|| format!("could not register a schema as {subject} at {shown}"))
        };
        match kind {
            Kind::Transactions => {
                ids.transactions_v1 = id_of(TRANSACTIONS_V1)?;
                ids.transactions_v2 = id_of(TRANSACTIONS_V2)?;
            }
            Kind::Clicks => ids.clicks = id_of(CLICKS_V1)?,
            Kind::Devices => ids.devices = id_of(DEVICES_V1)?,
        }
    }
    Ok(ids)
}

fn register(agent: &ureq::Agent, url: &str, subject: &str, schema: &str) -> anyhow::Result<u32> {
    let mut response = agent
        .post(format!("{}/subjects/{subject}/versions", url.trim_end_matches('/')))
        .content_type("application/vnd.schemaregistry.v1+json")
        .send(json!({ "schema": schema }).to_string())?;
    let status = response.status();
    let body = response.body_mut().read_to_string()?;
    if !status.is_success() {
        anyhow::bail!("{status}: {body}");
    }
    let registered: Registered = serde_json::from_str(&body).with_context(|| format!("no id in `{body}`"))?;
    Ok(registered.id)
}

fn new_agent(url: &str) -> anyhow::Result<ureq::Agent> {
    let secure = url.starts_with("https://");
    let roots = if secure { system_certificates()? } else { RootCerts::from(Vec::new()) };
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(roots)
        .build();
    Ok(ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_WITHIN))
        .tls_config(tls)
        .build()
        .new_agent())
}

fn system_certificates() -> anyhow::Result<RootCerts> {
    let pem = SYSTEM_CERTIFICATES
        .iter()
        .find_map(|file| std::fs::read(file).ok())
        .with_context(|| format!("no trusted certificates in any of {}", SYSTEM_CERTIFICATES.join(", ")))?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(RootCerts::from(certificates.collect::<Vec<_>>()))
}
