//! An S3-compatible object store: `S3Proxy` over a directory. It checks every
//! signature, and what it stores can be looked at as files.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;

use tempfile::TempDir;

use super::child::{Guarded, guarded};
use super::kafka::{JVM, jars, java};
use super::ports::free_port;
use super::process::{Windrow, http_get};
use super::{INSTALL, PATIENCE, eventually};

/// The bucket that there is.
pub const BUCKET: &str = "features";

/// Who may use it, and by which secret.
const KEY_ID: &str = "windrow-tests";
const SECRET: &str = "a-secret-of-the-tests";

/// Another process may take a port between its choice and its use.
const START_ATTEMPTS: u32 = 3;

/// Says what it warns of, and not every step of every request.
const LOGGING: &str = r#"<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%level %logger %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
"#;

/// A server with one bucket, stopped on drop.
#[derive(Debug)]
pub struct BucketServer {
    port: u16,

    // Before the directory, so that it is removed when the process is dead.
    process: Option<Guarded>,
    directory: TempDir,
}

impl BucketServer {
    /// A server with an empty bucket.
    ///
    /// # Panics
    /// When it does not start, with how to install it.
    pub fn start() -> Self {
        let mut last = None;
        for _ in 0..START_ATTEMPTS {
            let directory = TempDir::with_prefix("windrow-bucket-").expect("makes a temporary directory");
            let port = free_port();
            let properties = format!(
                "s3proxy.endpoint=http://127.0.0.1:{port}\n\
                 s3proxy.authorization=aws-v4\n\
                 s3proxy.identity={KEY_ID}\n\
                 s3proxy.credential={SECRET}\n\
                 s3proxy.ignore-unknown-headers=true\n\
                 jclouds.provider=filesystem\n\
                 jclouds.identity=unused\n\
                 jclouds.credential=unused\n\
                 jclouds.filesystem.basedir={}/buckets\n",
                directory.path().display()
            );
            fs::write(directory.path().join("s3proxy.conf"), properties).expect("writes s3proxy.conf");
            fs::write(directory.path().join("logback.xml"), LOGGING).expect("writes logback.xml");
            let mut server = Self { port, process: None, directory };
            fs::create_dir_all(server.files()).expect("makes the bucket");
            match server.run() {
                Ok(()) => return server,
                Err(status) => last = Some((status, server.printed())),
            }
        }
        panic!("S3Proxy ended at its start {START_ATTEMPTS} times ({INSTALL}): {last:?}")
    }

    /// What the bucket holds, as files.
    pub fn files(&self) -> PathBuf {
        self.directory.path().join("buckets").join(BUCKET)
    }

    /// A run that knows the server, with the right secret.
    pub fn known_to(&self, windrow: Windrow) -> Windrow {
        self.known_with(windrow, SECRET)
    }

    /// A run that knows the server, with this secret.
    pub fn known_with(&self, windrow: Windrow, secret: &str) -> Windrow {
        windrow
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", secret)
    }

    /// Stops it as a crash would; connections are refused from now on.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// It takes connections from now on, and answers nothing.
    pub fn hang(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal("STOP");
        }
    }

    /// Starts it again with what it holds, on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "S3Proxy runs");
        self.run().unwrap_or_else(|status| panic!("S3Proxy ended: {status}\n{}", self.printed()));
    }

    /// Starts the process and waits until it answers.
    ///
    /// # Errors
    /// How the process ended.
    fn run(&mut self) -> Result<(), ExitStatus> {
        let mut arguments: Vec<OsString> = JVM.iter().map(OsString::from).collect();
        arguments.extend(["-Dlogback.configurationFile=logback.xml", "-cp"].map(OsString::from));
        arguments.push(jars("WINDROW_S3PROXY_DIR", ".cache/windrow-s3proxy", "s3proxy-"));
        let main = ["org.gaul.s3proxy.Main", "--properties", "s3proxy.conf"];
        arguments.extend(main.map(OsString::from));
        let mut command = guarded(java(), &arguments, Some(self.directory.path()));
        command.current_dir(self.directory.path());
        let process = self.process.insert(Guarded::spawn("S3Proxy", command));
        let address = format!("127.0.0.1:{}", self.port);
        eventually(PATIENCE, "S3Proxy answers", || {
            if let Some(status) = process.try_wait() {
                return Ok(Err(status));
            }
            http_get(&address, "/").map(|_| Ok(()))
        })
    }

    fn printed(&self) -> String {
        self.process.as_ref().map(|process| process.stdout() + &process.stderr()).unwrap_or_default()
    }
}
