//! What makes a broker demand TLS and credentials, on listeners beside the
//! open one that the tests themselves use.
//!
//! | listener | protocol | who gets in |
//! |---|---|---|
//! | `TLS` | `ssl` | who has a certificate of the authority |
//! | `LOGIN` | `sasl_ssl` | [`USER`] with the password, by PLAIN or SCRAM-SHA-512 |

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::certificates;
use super::ports::free_port;

/// The one who may log in.
pub const USER: &str = "windrow";

/// Certificates, ports and a password for one broker.
#[derive(Debug)]
pub struct Security {
    password: String,
    tls_port: u16,
    login_port: u16,
    directory: TempDir,
}

impl Security {
    /// With this password of [`USER`]: letters, digits and dashes.
    pub fn new(password: &str) -> Self {
        let directory = TempDir::with_prefix("windrow-certificates-").expect("makes a temporary directory");
        certificates::make(directory.path());
        // Kafka wants key and certificate in one file.
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("was just made");
        let both = read("server.key") + &read("server.crt");
        std::fs::write(directory.path().join("server.pem"), both).expect("writes a file");
        Self { password: password.to_owned(), tls_port: free_port(), login_port: free_port(), directory }
    }

    /// `bootstrap.servers` of the listener that asks for a certificate.
    pub fn tls_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.tls_port)
    }

    /// `bootstrap.servers` of the listener that asks for user and password.
    pub fn login_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.login_port)
    }

    /// A file that [`certificates::make`] made.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What formats the storage so that it knows the user.
    pub(super) fn format_arguments(&self) -> [String; 2] {
        let credential = format!("SCRAM-SHA-512=[name={USER},password={}]", self.password);
        ["--add-scram".to_owned(), credential]
    }

    /// More listeners, their protocols, and more lines of `server.properties`.
    pub(super) fn properties(&self) -> (String, String, String) {
        let Self { password, tls_port, login_port, .. } = self;
        let file = |name: &str| -> String { shown(&self.file(name)) };
        let listeners = format!(",TLS://127.0.0.1:{tls_port},LOGIN://127.0.0.1:{login_port}");
        let modules = "org.apache.kafka.common.security";
        let lines = format!(
            "ssl.keystore.type=PEM
ssl.keystore.location={}
ssl.truststore.type=PEM
ssl.truststore.location={}
listener.name.tls.ssl.client.auth=required
listener.name.login.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.login.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{USER}=\"{password}\";
listener.name.login.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
",
            file("server.pem"),
            file("ca.crt"),
        );
        (listeners, ",TLS:SSL,LOGIN:SASL_SSL".to_owned(), lines)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
