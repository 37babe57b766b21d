//! Certificates of an authority that nobody but a test knows.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::INSTALL;

/// What every certificate is for but the authority's own.
const EXTENSIONS: &str = "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n\
                          subjectAltName=DNS:localhost,IP:127.0.0.1\n";

/// Makes in `directory` an authority (`ca.crt`) and two certificates that it
/// signed: a server's for loopback (`server.crt`, `server.key`), and a client's
/// (`client.crt`, `client.key`). Keys are in PKCS#8, which Kafka asks for.
///
/// # Panics
/// When there is no openssl, with how to install it.
pub fn make(directory: &Path) {
    fs::write(directory.join("extensions"), EXTENSIONS).expect("writes the extensions");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        directory,
        &format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=windrow-tests"),
    );
    for (name, subject) in [("server", "localhost"), ("client", "windrow")] {
        openssl(directory, &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={subject}"));
        let sign = format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
             -extfile extensions -out {name}.crt"
        );
        openssl(directory, &sign);
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .unwrap_or_else(|error| panic!("could not start openssl: {error}: {INSTALL}"));
    assert!(made.status.success(), "openssl {arguments}:\n{}", String::from_utf8_lossy(&made.stderr));
}
