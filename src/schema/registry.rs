//! The Confluent-compatible schema registry over HTTP: how it is asked, and how
//! often. What its answers mean stands in [`super::answer`]; that nothing is
//! asked twice is [`super::Cached`]'s business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::http::Response;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Body, RequestBuilder};

use super::answer::{
    Answer, Found, Reference, Registered, base64, id_path, read, subject_path, versions_path,
};
use super::inline::inline;
use super::{Error, Schemas};

/// How to reach the registry.
#[derive(Clone)]
pub struct Options {
    /// Its address, `http://` or `https://`, with a path if it has one.
    pub url: String,
    /// User, for basic authentication.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Certificates (PEM) that sign its own; the system's otherwise.
    pub ca_cert: Option<PathBuf>,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

/// Waits before the second, third and fourth try. Four tries outlast a restart
/// behind a load balancer; more would hold up the batch for a registry that is down.
const WAITS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1)];

/// Longest answer that is read: schemas are a few kilobytes.
const MOST_ANSWER_BYTES: u64 = 8 << 20;

/// Most schemas that one schema may refer to, itself and through others.
const MOST_REFERENCES: usize = 64;

/// What the registry's own format is called over HTTP.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Where systems keep the certificates that they trust.
const SYSTEM_CERTIFICATES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A schema registry. It remembers nothing: put a [`super::Cached`] before it.
pub struct Registry {
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
}

impl Registry {
    /// Prepares requests; makes none.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn try_new(options: &Options) -> Result<Self, Error> {
        let url = options.url.trim_end_matches('/').to_owned();
        let certificates = match &options.ca_cert {
            Some(file) => certificates(file)?,
            None if url.starts_with("https://") => system_certificates()?,
            None => Vec::new(),
        };
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::from(certificates))
            .build();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(options.timeout))
            .tls_config(tls)
            .user_agent(concat!("windrow/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let authorization = options.username.as_ref().map(|username| {
            let password = options.password.as_deref().unwrap_or_default();
            format!("Basic {}", base64(format!("{username}:{password}").as_bytes()))
        });
        Ok(Self { agent, url, authorization })
    }

    /// Has a schema registered under a subject, and gives its id: the one that it
    /// has already where the registry knows it.
    ///
    /// # Errors
    /// When the registry does not answer, or refuses the schema.
    pub fn register(&mut self, subject: &str, schema: &str) -> Result<u32, Error> {
        let address = format!("{}{}", self.url, versions_path(subject));
        let body = json!({ "schema": schema }).to_string();
        // To register a schema once more changes nothing, so an answer that was lost is no harm.
        let registered: Option<Registered> = self.until_answered(|| {
            let request = self.agent.post(address.as_str()).content_type(MEDIA_TYPE);
            answer(self.signed(request).send(body.as_str()))
        })?;
        let wanted = || Error::NoSubject { wanted: format!("subject `{subject}`") };
        registered.map(|registered| registered.id).ok_or_else(wanted)
    }

    fn ask(&self, path: &str) -> Result<Option<Found>, Error> {
        let address = format!("{}{path}", self.url);
        self.until_answered(|| answer(self.signed(self.agent.get(address.as_str())).call()))
    }

    /// Says what is understood, and who asks.
    fn signed<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        let request = request.header("Accept", format!("{MEDIA_TYPE}, application/json"));
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization.as_str()),
            None => request,
        }
    }

    /// Asks until there is an answer, or tries are used up.
    fn until_answered<T>(&self, try_once: impl Fn() -> Answer<T>) -> Result<Option<T>, Error> {
        let mut waits = WAITS.iter();
        loop {
            match try_once() {
                Answer::Found(found) => return Ok(Some(found)),
                Answer::Absent => return Ok(None),
                Answer::Refused(reason) => return Err(Error::Refused { registry: self.url.clone(), reason }),
                Answer::Retry(reason) => match waits.next() {
                    Some(wait) => std::thread::sleep(*wait),
                    None => return Err(Error::Unavailable { registry: self.url.clone(), reason }),
                },
            }
        }
    }

    /// The schema's text with its references put in.
    fn whole(&self, what: &str, found: Found) -> Result<Arc<str>, Error> {
        let unusable = |reason: String| Error::Unusable { what: what.to_owned(), reason };
        if let Some(kind) = found.kind.as_deref().filter(|kind| !kind.eq_ignore_ascii_case("AVRO")) {
            return Err(unusable(format!("it is {kind}, not AVRO")));
        }
        if found.references.is_empty() {
            return Ok(found.schema.into());
        }
        let mut definitions = BTreeMap::new();
        let mut wanted: Vec<Reference> = found.references;
        while let Some(reference) = wanted.pop() {
            if definitions.contains_key(&reference.name) {
                continue;
            }
            if definitions.len() == MOST_REFERENCES {
                return Err(unusable(format!("it refers to more than {MOST_REFERENCES} schemas")));
            }
            let Some(referred) = self.ask(&subject_path(&reference.subject, Some(reference.version)))? else {
                let Reference { name, subject, version } = reference;
                let reason =
                    format!("it refers to `{name}`, and subject `{subject}` has no version {version}");
                return Err(unusable(reason));
            };
            definitions.insert(reference.name, parse(&referred.schema).map_err(unusable)?);
            wanted.extend(referred.references);
        }
        let schema = parse(&found.schema).map_err(unusable)?;
        Ok(inline(schema, definitions).to_string().into())
    }
}

impl Schemas for Registry {
    fn by_id(&mut self, id: u32) -> Result<Option<Arc<str>>, Error> {
        match self.ask(&id_path(id))? {
            Some(found) => self.whole(&format!("schema id {id}"), found).map(Some),
            None => Ok(None),
        }
    }

    fn by_subject(&mut self, subject: &str, version: Option<u32>) -> Result<(u32, Arc<str>), Error> {
        let wanted = match version {
            Some(version) => format!("subject `{subject}` version {version}"),
            None => format!("subject `{subject}`"),
        };
        let Some(found) = self.ask(&subject_path(subject, version))? else {
            return Err(Error::NoSubject { wanted });
        };
        let id = found
            .id
            .ok_or_else(|| Error::Unusable { what: wanted.clone(), reason: "it has no id".to_owned() })?;
        Ok((id, self.whole(&wanted, found)?))
    }
}

/// What came back.
fn answer<T: DeserializeOwned>(sent: Result<Response<Body>, ureq::Error>) -> Answer<T> {
    let answered = sent.and_then(|mut response| {
        let body = response.body_mut().with_config().limit(MOST_ANSWER_BYTES).read_to_string()?;
        Ok((response.status().as_u16(), body))
    });
    match answered {
        Ok((status, body)) => read(status, &body),
        Err(
            error @ (ureq::Error::BadUri(_)
            | ureq::Error::Http(_)
            | ureq::Error::Tls(_)
            | ureq::Error::Rustls(_)
            | ureq::Error::TooManyRedirects),
        ) => Answer::Refused(error.to_string()),
        Err(error) => Answer::Retry(error.to_string()),
    }
}

fn parse(schema: &str) -> Result<Value, String> {
    serde_json::from_str(schema).map_err(|error| format!("it is not JSON: {error}"))
}

type Certificates = Vec<ureq::tls::Certificate<'static>>;

fn certificates(file: &Path) -> Result<Certificates, Error> {
    let wrong = |reason: String| {
        Error::Options(format!("{} cannot be used for certificates: {reason}", file.display()))
    };
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(wrong("it holds none".to_owned())) } else { Ok(certificates) }
}

fn system_certificates() -> Result<Certificates, Error> {
    match SYSTEM_CERTIFICATES.iter().map(Path::new).find(|file| file.is_file()) {
        Some(file) => certificates(file),
        None => {
            Err(Error::Options("the system has no certificates: name a file of them as `ca_cert`".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// Answers one connection with each of `answers`, in order, and gives back what was asked.
    fn serve(answers: Vec<(u16, &'static str)>) -> (Registry, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = Options {
            url: format!("http://{}/", listener.local_addr().unwrap()),
            username: Some("user".into()),
            password: Some("pass".into()),
            ca_cert: None,
            timeout: Duration::from_secs(5),
        };
        let server = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for (status, body) in answers {
                let (mut connection, _) = listener.accept().unwrap();
                let head: Vec<String> = BufReader::new(connection.try_clone().unwrap())
                    .lines()
                    .map(Result::unwrap)
                    .take_while(|line| !line.is_empty())
                    .collect();
                assert!(
                    head.iter().any(|line| line.eq_ignore_ascii_case("authorization: Basic dXNlcjpwYXNz")),
                    "{head:?}"
                );
                asked.push(head[0].split(' ').nth(1).unwrap().to_owned());
                let length = body.len();
                write!(
                    connection,
                    "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .unwrap();
            }
            asked
        });
        (Registry::try_new(&options).unwrap(), server)
    }

    #[test]
    fn a_schema_comes_after_an_outage() {
        let (mut registry, server) = serve(vec![(503, ""), (200, r#"{"schema":"\"long\""}"#)]);
        assert_eq!(registry.by_id(7), Ok(Some("\"long\"".into())));
        assert_eq!(server.join().unwrap(), ["/schemas/ids/7", "/schemas/ids/7"]);
    }

    #[test]
    fn what_is_not_there_and_what_is_no_avro() {
        let (mut registry, server) = serve(vec![
            (404, r#"{"error_code":40403,"message":"Schema not found"}"#),
            (404, r#"{"error_code":40401,"message":"Subject not found"}"#),
            (200, r#"{"schema":"{}","schemaType":"JSON"}"#),
        ]);
        assert_eq!(registry.by_id(1), Ok(None));
        assert!(matches!(registry.by_subject("s", None), Err(Error::NoSubject { .. })));
        assert!(matches!(registry.by_id(2), Err(Error::Unusable { .. })));
        server.join().unwrap();
    }

    #[test]
    fn a_schema_is_registered_after_an_outage() {
        let (mut registry, server) = serve(vec![(503, ""), (200, r#"{"id":5}"#)]);
        assert_eq!(registry.register("a-value", "\"long\""), Ok(5));
        assert_eq!(server.join().unwrap(), ["/subjects/a-value/versions"; 2]);
    }

    #[test]
    fn references_are_put_in() {
        let (mut registry, server) = serve(vec![
            (
                200,
                r#"{"id":3,"schema":"{\"type\":\"array\",\"items\":\"a.F\"}","references":[{"name":"a.F","subject":"f","version":2}]}"#,
            ),
            (200, r#"{"id":2,"schema":"{\"type\":\"fixed\",\"name\":\"a.F\",\"size\":4}"}"#),
        ]);
        let (id, schema) = registry.by_subject("s", None).unwrap();
        assert_eq!(id, 3);
        assert!(schema.contains("\"size\":4"), "{schema}");
        assert_eq!(server.join().unwrap(), ["/subjects/s/versions/latest", "/subjects/f/versions/2"]);
    }

    #[test]
    fn a_registry_that_is_down_is_unavailable() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let options = Options {
            url: format!("http://{port}"),
            username: None,
            password: None,
            ca_cert: None,
            timeout: Duration::from_secs(1),
        };
        assert!(matches!(Registry::try_new(&options).unwrap().by_id(1), Err(Error::Unavailable { .. })));
    }
}
