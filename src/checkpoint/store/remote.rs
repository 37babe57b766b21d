//! Object stores of a network: clients whose credentials and endpoints come
//! from the environment, under the names that each store's own tools use.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, Result, RetryConfig};

use crate::checkpoint::location::{Bucket, Service};

/// An option of a client, and its value as text.
type Setting = (ClientConfigKey, &'static str);

/// A client's own limits. How long a request may take as a whole follows from
/// its size, and the store looks after that. Connections are idle between two
/// checkpoints: one that is kept longer than this the other side may have closed.
const CLIENT: [Setting; 3] = [
    (ClientConfigKey::ConnectTimeout, "5s"),
    (ClientConfigKey::Timeout, "1h"),
    (ClientConfigKey::PoolIdleTimeout, "5s"),
];

/// A request that failed is made again so often, when it failed within so long:
/// what lasts longer is for the next checkpoint.
const RETRIES: usize = 3;
const RETRIES_WITHIN: Duration = Duration::from_secs(10);

/// The client of a bucket, which knows names below the prefix only.
pub(super) fn open(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>> {
    let prefix = Path::parse(&bucket.prefix)?;
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES,
        retry_timeout: RETRIES_WITHIN,
    };
    match bucket.service {
        Service::S3 => {
            let builder = AmazonS3Builder::from_env().with_bucket_name(&bucket.name).with_retry(retry);
            let with = |builder: AmazonS3Builder, (key, value): Setting| {
                builder.with_config(AmazonS3ConfigKey::Client(key), value)
            };
            Ok(below(CLIENT.into_iter().fold(builder, with).build()?, prefix))
        }
        Service::Google => {
            let builder =
                GoogleCloudStorageBuilder::from_env().with_bucket_name(&bucket.name).with_retry(retry);
            let with = |builder: GoogleCloudStorageBuilder, (key, value): Setting| {
                builder.with_config(GoogleConfigKey::Client(key), value)
            };
            Ok(below(CLIENT.into_iter().fold(builder, with).build()?, prefix))
        }
        Service::Azure => {
            // Its name may tell the account, too.
            let url = format!("{}://{}", bucket.scheme, bucket.name);
            let builder = MicrosoftAzureBuilder::from_env().with_url(url).with_retry(retry);
            let with = |builder: MicrosoftAzureBuilder, (key, value): Setting| {
                builder.with_config(AzureConfigKey::Client(key), value)
            };
            Ok(below(CLIENT.into_iter().fold(builder, with).build()?, prefix))
        }
    }
}

fn below<T: ObjectStore>(store: T, prefix: Path) -> Arc<dyn ObjectStore> {
    if prefix.as_ref().is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) }
}
