//! A small schema registry that speaks Confluent's API, in the test process:
//! it counts requests, can refuse, fail, stop and come back on the same port.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::certificates;
use super::ports::free_port;

/// How long a client may take to send its request.
const REQUEST: Duration = Duration::from_secs(10);

/// A registry, stopped on drop.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    state: Arc<Mutex<State>>,
    tls: Option<Tls>,

    listening: Option<Listening>,
}

/// What it answers with over HTTPS.
#[derive(Debug)]
struct Tls {
    config: Arc<ServerConfig>,
    directory: TempDir,
}

#[derive(Debug)]
struct Listening {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Registry {
    /// A registry that asks for no credentials.
    pub fn start() -> Self {
        Self::start_with(None, None)
    }

    /// A registry that answers 401 to all but this user.
    pub fn start_with_credentials(user: &str, password: &str) -> Self {
        Self::start_with(Some(authorization(user, password)), None)
    }

    /// The same over HTTPS, with a certificate that [`Self::ca_file`] vouches for.
    pub fn start_with_tls(user: &str, password: &str) -> Self {
        let directory = TempDir::with_prefix("windrow-registry-").expect("makes a temporary directory");
        certificates::make(directory.path());
        let tls = Tls { config: server_config(directory.path()), directory };
        Self::start_with(Some(authorization(user, password)), Some(tls))
    }

    fn start_with(authorization: Option<String>, tls: Option<Tls>) -> Self {
        let state = Arc::new(Mutex::new(State { authorization, ..State::default() }));
        let mut registry = Self { port: free_port(), state, tls, listening: None };
        registry.start_again();
        registry
    }

    /// Where it is, for `--schema-registry-url`.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The certificate of the authority that signed its own.
    ///
    /// # Panics
    /// When it has none.
    pub fn ca_file(&self) -> PathBuf {
        self.tls.as_ref().expect("the registry has TLS").directory.path().join("ca.crt")
    }

    /// Registers a schema as a producer would; returns its id. A text that the
    /// subject already has keeps its version, one that any subject has its id.
    pub fn register(&self, subject: &str, schema: &str) -> u32 {
        self.state().register(subject, schema)
    }

    /// How many requests have come for each path, such as `/schemas/ids/1`,
    /// whatever the answer was.
    pub fn requests(&self) -> BTreeMap<String, usize> {
        self.state().requests.clone()
    }

    /// From now on every answer is 500, or no longer.
    pub fn fail(&self, failing: bool) {
        self.state().failing = failing;
    }

    /// Stops it; connections are refused from now on.
    pub fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.stop.store(true, Ordering::Release);
            // Wakes the thread; if it is gone already, so is its listener.
            TcpStream::connect(("127.0.0.1", self.port)).ok();
            listening.thread.join().expect("the registry's thread does not panic");
        }
    }

    /// Starts it again on the same port, with its schemas.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn start_again(&mut self) {
        assert!(self.listening.is_none(), "the registry runs");
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("the port is free");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, state) = (Arc::clone(&stop), Arc::clone(&self.state));
        let tls = self.tls.as_ref().map(|tls| Arc::clone(&tls.config));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let (state, tls) = (Arc::clone(&state), tls.clone());
                // A client that breaks off is its own business.
                thread::spawn(move || stream.and_then(|stream| accept(stream, tls, &state)).ok());
            }
        });
        self.listening = Some(Listening { stop, thread });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the registry knows. An id is a schema's place in `schemas`, from 1 on;
/// a version is an id's place among its subject's, from 1 on.
#[derive(Debug, Default)]
struct State {
    authorization: Option<String>,

    schemas: Vec<String>,
    subjects: BTreeMap<String, Vec<u32>>,
    requests: BTreeMap<String, usize>,
    failing: bool,
}

impl State {
    fn register(&mut self, subject: &str, schema: &str) -> u32 {
        let place = self.schemas.iter().position(|known| known == schema).unwrap_or_else(|| {
            self.schemas.push(schema.to_owned());
            self.schemas.len() - 1
        });
        let id = u32::try_from(place + 1).expect("a few schemas");
        let versions = self.subjects.entry(subject.to_owned()).or_default();
        if !versions.contains(&id) {
            versions.push(id);
        }
        id
    }

    /// Status and body.
    fn answer(&mut self, request: &Request) -> (u16, Value) {
        *self.requests.entry(request.path.clone()).or_default() += 1;
        if self.failing {
            return error(500, 50_001, "Error in the backend data store");
        }
        if self.authorization.is_some() && self.authorization != request.authorization {
            return error(401, 40_101, "Unauthorized");
        }
        let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["subjects"]) => (200, json!(self.subjects.keys().collect::<Vec<_>>())),
            ("POST", ["subjects", subject, "versions"]) => match request.body["schema"].as_str() {
                Some(schema) => (200, json!({ "id": self.register(subject, schema) })),
                None => error(422, 42_201, "Invalid schema"),
            },
            ("GET", ["subjects", subject, "versions", version]) => self.version(subject, version),
            ("GET", ["schemas", "ids", id]) => match id.parse().ok().and_then(|id| self.schema(id)) {
                Some(schema) => (200, json!({ "schema": schema })),
                None => error(404, 40_403, "Schema not found"),
            },
            _ => error(404, 404, "HTTP 404 Not Found"),
        }
    }

    fn version(&self, subject: &str, version: &str) -> (u16, Value) {
        let Some(ids) = self.subjects.get(subject) else {
            return error(404, 40_401, "Subject not found.");
        };
        let number = if version == "latest" { Some(ids.len()) } else { version.parse().ok() };
        let found = number.and_then(|number| Some((number, *ids.get(number.checked_sub(1)?)?)));
        match found {
            Some((number, id)) => {
                let schema = self.schema(id);
                (200, json!({ "subject": subject, "version": number, "id": id, "schema": schema }))
            }
            None => error(404, 40_402, "Version not found."),
        }
    }

    fn schema(&self, id: u32) -> Option<&str> {
        let place = usize::try_from(id).ok()?.checked_sub(1)?;
        self.schemas.get(place).map(String::as_str)
    }
}

fn error(status: u16, code: u32, message: &str) -> (u16, Value) {
    (status, json!({ "error_code": code, "message": message }))
}

/// The parts of an HTTP request that matter here.
#[derive(Debug, Default)]
struct Request {
    method: String,
    path: String,
    authorization: Option<String>,
    body: Value,
}

/// The header by which a client says who it is.
pub fn authorization(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

fn server_config(directory: &Path) -> Arc<ServerConfig> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(directory.join("server.crt"))
        .expect("the certificate was just made")
        .collect();
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).expect("so was its key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has what TLS 1.3 needs")
        .with_no_client_auth()
        .with_single_cert(certificates.expect("the file holds certificates"), key)
        .expect("the key is the certificate's");
    Arc::new(config)
}

fn accept(stream: TcpStream, tls: Option<Arc<ServerConfig>>, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(REQUEST))?;
    match tls {
        None => serve(stream, state),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
            serve(StreamOwned::new(connection, stream), state)
        }
    }
}

/// Answers one request and closes the connection.
fn serve(mut stream: impl Read + Write, state: &Mutex<State>) -> std::io::Result<()> {
    let request = read_request(&mut stream)?;
    if request.method.is_empty() {
        return Ok(());
    }
    let (status, body) = lock(state).answer(&request);
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Type: application/vnd.schemaregistry.v1+json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes())?;
    stream.flush()
}

fn read_request(stream: &mut impl Read) -> std::io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let mut request = Request { method, path, ..Request::default() };

    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "authorization" => request.authorization = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    request.body = serde_json::from_slice(&body).unwrap_or_default();
    Ok(request)
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|place| u32::from(chunk.get(place).copied().unwrap_or(0)));
        let bits = (a << 16) | (b << 8) | c;
        for place in 0..4 {
            let index = usize::try_from((bits >> (18 - 6 * place)) & 63).expect("six bits");
            text.push(if place <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}
