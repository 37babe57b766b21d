//! Connections: addresses, TLS, credentials, and who the master is. Credentials
//! are kept out of the client's own types and of every message.

use std::path::Path;
use std::time::Duration;

use ::redis::{
    Client, ClientTlsConfig, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, TlsCertificates, Value,
};

use super::options::{Mode, Options, without_secrets};
use super::reply::{Failure, accept, first_error, words};
use crate::sink::resp;

/// Whom to be. Deliberately without `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
struct Credentials {
    username: Option<String>,
    password: Option<String>,
}

/// An address of the options and the credentials that stood in it.
#[derive(Clone)]
struct Seed {
    info: ConnectionInfo,
    credentials: Credentials,
}

/// Opens connections as the options say.
pub(super) struct Dialer {
    mode: Mode,
    seeds: Vec<Seed>,
    /// For the nodes that hold data; a sentinel has those of its URL.
    credentials: Credentials,
    db: i64,
    connect_timeout: Duration,
    response_timeout: Duration,
}

impl Dialer {
    /// Reads the URLs and the certificates.
    pub(super) fn try_new(options: &Options) -> Result<Self, Failure> {
        // rustls asks the process for its cryptography; whoever came first has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificates = certificates(options)?;
        let mut seeds = Vec::new();
        let mut url_db = 0;
        for url in &options.urls {
            let (seed, db) = seed(url, options, certificates.as_ref())?;
            seeds.push(seed);
            url_db = db;
        }
        let Some(first) = seeds.first() else {
            return Err(Failure::Refused("no Redis URL is given".to_owned()));
        };
        let single = matches!(options.mode, Mode::Single);
        if single && seeds.len() > 1 {
            let reason = "several Redis URLs are given; the mode has to be sentinel or cluster";
            return Err(Failure::Refused(reason.to_owned()));
        }
        let sentinel = matches!(options.mode, Mode::Sentinel { .. });
        let mut credentials = if sentinel { Credentials::default() } else { first.credentials.clone() };
        credentials.username = options.username.clone().or(credentials.username);
        credentials.password = options.password.clone().or(credentials.password);
        let db = options.db.unwrap_or(url_db);
        if db != 0 && matches!(options.mode, Mode::Cluster) {
            return Err(Failure::Refused(format!(
                "database {db} is given; Redis Cluster has only database 0"
            )));
        }
        Ok(Self {
            mode: options.mode.clone(),
            seeds,
            credentials,
            db,
            connect_timeout: options.connect_timeout.max(SHORTEST_TIMEOUT),
            response_timeout: options.response_timeout.max(SHORTEST_TIMEOUT),
        })
    }

    pub(super) const fn mode(&self) -> &Mode {
        &self.mode
    }

    /// The store as messages call it.
    pub(super) fn store(&self) -> String {
        let addresses: Vec<String> = self.seeds.iter().map(|seed| seed.info.addr().to_string()).collect();
        let addresses = addresses.join(", ");
        match &self.mode {
            Mode::Single => format!("Redis at {addresses}, database {}", self.db),
            Mode::Sentinel { master_name } => format!("Redis `{master_name}` of the sentinels {addresses}"),
            Mode::Cluster => format!("Redis Cluster at {addresses}"),
        }
    }

    /// Connects to the one server or, through the sentinels, to the master.
    pub(super) fn master(&self) -> Result<Connection, Failure> {
        match &self.mode {
            Mode::Sentinel { master_name } => self.ask_sentinels(master_name),
            Mode::Single | Mode::Cluster => self.any_seed().map(|(connection, _)| connection),
        }
    }

    /// Connects to the first given node that answers, and says its host.
    pub(super) fn any_seed(&self) -> Result<(Connection, String), Failure> {
        let mut failures = Vec::new();
        for seed in &self.seeds {
            match self.dial(seed.info.clone(), &self.credentials, self.db) {
                Ok(connection) => return Ok((connection, host(seed.info.addr()))),
                Err(failure) => failures.push((seed, failure)),
            }
        }
        Err(all_of(failures))
    }

    /// Connects to a node that another one named.
    pub(super) fn node(&self, host: &str, port: u16) -> Result<Connection, Failure> {
        let Some(first) = self.seeds.first() else {
            return Err(Failure::Refused("no Redis URL is given".to_owned()));
        };
        let address = match first.info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        self.dial(first.info.clone().set_addr(address), &self.credentials, self.db)
    }

    /// Asks one sentinel after the other until a master is found that agrees.
    fn ask_sentinels(&self, master_name: &str) -> Result<Connection, Failure> {
        let mut failures = Vec::new();
        for seed in &self.seeds {
            match self.ask_sentinel(seed, master_name) {
                Ok(connection) => return Ok(connection),
                Err(failure) => failures.push((seed, failure)),
            }
        }
        Err(all_of(failures))
    }

    fn ask_sentinel(&self, seed: &Seed, master_name: &str) -> Result<Connection, Failure> {
        let mut sentinel = self.dial(seed.info.clone(), &seed.credentials, 0)?;
        let question: [&[u8]; 3] = [b"SENTINEL", b"get-master-addr-by-name", master_name.as_bytes()];
        let answer = request(&mut sentinel, &question)?;
        let Some((host, port)) = address(&answer) else {
            return Err(Failure::Refused(format!("the sentinel knows no master `{master_name}`")));
        };
        let mut connection = self.node(&host, port)?;
        // Just after a failover a sentinel may still name the old master. A user
        // without the right to ask for the role learns of it from READONLY.
        connection.send_packed_command(&resp::command(&[b"ROLE"]))?;
        match connection.recv_response()? {
            Value::Array(role) if role.first().and_then(text).is_some_and(|role| role != "master") => {
                Err(Failure::Unavailable(format!("{host}:{port} is no master any more")))
            }
            _ => Ok(connection),
        }
    }

    fn dial(&self, info: ConnectionInfo, credentials: &Credentials, db: i64) -> Result<Connection, Failure> {
        let mut connection = Client::open(info)?.get_connection_with_timeout(self.connect_timeout)?;
        connection.set_read_timeout(Some(self.response_timeout))?;
        connection.set_write_timeout(Some(self.response_timeout))?;
        if let Some(password) = &credentials.password {
            let password = password.as_bytes();
            match &credentials.username {
                Some(username) => introduce(&mut connection, &[b"AUTH", username.as_bytes(), password])?,
                None => introduce(&mut connection, &[b"AUTH", password])?,
            }
        }
        if db != 0 {
            introduce(&mut connection, &[b"SELECT", db.to_string().as_bytes()])?;
        }
        Ok(connection)
    }
}

/// The sockets refuse a timeout of nothing.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

/// Sends one command and takes its reply, which must not be an error.
pub(super) fn request(connection: &mut Connection, parts: &[&[u8]]) -> Result<Value, Failure> {
    connection.send_packed_command(&resp::command(parts))?;
    accept(connection.recv_response()?)
}

/// A command of the handshake: what it is refused will be refused again, unless
/// the server has no room for us or is not up yet.
fn introduce(connection: &mut Connection, parts: &[&[u8]]) -> Result<(), Failure> {
    connection.send_packed_command(&resp::command(parts))?;
    let reply = connection.recv_response()?;
    match first_error(&reply) {
        None => Ok(()),
        Some(error) => {
            let reason = words(error);
            let may_pass = error.code() == "LOADING" || reason.contains("max number of clients");
            Err(if may_pass { Failure::Unavailable(reason) } else { Failure::Refused(reason) })
        }
    }
}

/// One failure of many: it may pass if one of them may.
fn all_of(failures: Vec<(&Seed, Failure)>) -> Failure {
    let mut may_pass = false;
    let mut reasons = Vec::new();
    let several = failures.len() > 1;
    for (seed, failure) in failures {
        let (Failure::Unavailable(reason) | Failure::Refused(reason)) = &failure;
        reasons.push(if several { format!("{}: {reason}", seed.info.addr()) } else { reason.clone() });
        may_pass |= matches!(failure, Failure::Unavailable(_));
    }
    let reasons = reasons.join("; ");
    if may_pass { Failure::Unavailable(reasons) } else { Failure::Refused(reasons) }
}

fn seed(
    url: &str,
    options: &Options,
    certificates: Option<&TlsCertificates>,
) -> Result<(Seed, i64), Failure> {
    let wrong = |reason: &str| Failure::Refused(format!("Redis URL `{}`: {reason}", without_secrets(url)));
    let info = url.into_connection_info().map_err(|error| {
        wrong(&format!("{error}; write redis://host:6379, rediss://host:6379 or unix:///path"))
    })?;
    let settings = info.redis_settings();
    let credentials = Credentials {
        username: settings.username().map(str::to_owned),
        password: settings.password().map(str::to_owned),
    };
    let db = settings.db();
    // Credentials and database are our own handshake's: its errors say more.
    let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let mut info = info.set_redis_settings(settings).set_tcp_settings(tcp);
    if let ConnectionAddr::TcpTls { host, port, insecure, .. } = info.addr() {
        if *insecure && !options.insecure {
            return Err(wrong(
                "`#insecure` needs the option that allows certificates which nobody vouches for",
            ));
        }
        let (host, port) = (host.clone(), *port);
        if options.insecure {
            let address = ConnectionAddr::TcpTls { host, port, insecure: true, tls_params: None };
            info = info.set_addr(address);
        } else if let Some(certificates) = certificates {
            let client = Client::build_with_tls(info, certificates.clone())
                .map_err(|error| wrong(&error.to_string()))?;
            info = client.get_connection_info().clone();
        }
    } else if certificates.is_some() {
        return Err(wrong("certificates are given, so its scheme has to be rediss://"));
    }
    Ok((Seed { info, credentials }, db))
}

fn certificates(options: &Options) -> Result<Option<TlsCertificates>, Failure> {
    let root_cert = options.ca_cert.as_deref().map(read_pem).transpose()?;
    let client_tls = match (&options.client_cert, &options.client_key) {
        (None, None) => None,
        (Some(cert), Some(key)) => {
            Some(ClientTlsConfig { client_cert: read_pem(cert)?, client_key: read_pem(key)? })
        }
        _ => {
            let reason = "a client certificate and its key have to be given together";
            return Err(Failure::Refused(reason.to_owned()));
        }
    };
    if root_cert.is_none() && client_tls.is_none() {
        return Ok(None);
    }
    Ok(Some(TlsCertificates { client_tls, root_cert }))
}

/// A file without any PEM would end in an empty list of authorities, and in
/// connections that fail for no visible reason.
fn read_pem(path: &Path) -> Result<Vec<u8>, Failure> {
    let wrong = |reason: String| Failure::Refused(format!("`{}`: {reason}", path.display()));
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    if pem.windows(11).any(|window| window == b"-----BEGIN ") {
        Ok(pem)
    } else {
        Err(wrong("not in PEM format".to_owned()))
    }
}

fn host(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    }
}

/// A host and a port, as sentinels answer.
fn address(answer: &Value) -> Option<(String, u16)> {
    let Value::Array(parts) = answer else { return None };
    let [host, port] = parts.as_slice() else { return None };
    Some((text(host)?, text(port)?.parse().ok()?))
}

/// The text of a reply, if it is one.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(options: &Options, expected: &str) {
        match Dialer::try_new(options).map(|dialer| dialer.store()) {
            Err(Failure::Refused(reason)) => {
                assert!(reason.contains(expected) && !reason.contains("secret"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wrong_options_say_why_and_keep_secrets() {
        let options = |url: &str| Options { urls: vec![url.to_owned()], ..Options::default() };
        refused(&Options::default(), "no Redis URL");
        refused(&options("http://user:secret@host"), "`http://…`");
        refused(&options("rediss://:secret@host/#insecure"), "`#insecure` needs the option");
        let both = Options { urls: vec!["redis://a".into(), "redis://b".into()], ..Options::default() };
        refused(&both, "sentinel or cluster");
        refused(&Options { mode: Mode::Cluster, db: Some(3), ..options("redis://a") }, "only database 0");
        refused(&Options { client_cert: Some("c.pem".into()), ..options("rediss://a") }, "given together");
        refused(
            &Options { ca_cert: Some("/nonexistent/ca.pem".into()), ..options("rediss://a") },
            "/nonexistent/ca.pem",
        );
    }

    #[test]
    fn the_store_is_named_without_secrets() {
        let options = Options { urls: vec!["redis://u:secret@h:1/2".into()], ..Options::default() };
        let dialer = Dialer::try_new(&options).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(dialer.store(), "Redis at h:1, database 2");
        assert!(!format!("{options:?}").contains("secret"), "{options:?}");
    }
}
