//! Servers that demand TLS and credentials, what those are told who lack them,
//! and that no secret is ever shown, wherever it was written.

use std::fs;
use std::path::Path;

use crate::input::job::Job;
use crate::payments::{Payment, SCHEMA, SPENDING, Setting, assert_spending, body, payments};
use crate::support::PATIENCE;
use crate::support::avro::confluent;
use crate::support::client::Event;
use crate::support::kafka::KafkaBroker;
use crate::support::ports::free_port;
use crate::support::process::{Output, Windrow, http_get};
use crate::support::redis::{Options, RedisServer, User};
use crate::support::registry::{Registry, authorization};
use crate::support::secure::{Security, USER};

const KAFKA_SECRET: &str = "5ecret-of-the-brokers";
const REDIS_SECRET: &str = "5ecret-of-the-store";
const REGISTRY_SECRET: &str = "5ecret-of-the-registry";
/// Of a key that nobody uses.
const KEY_SECRET: &str = "5ecret-of-a-key";
/// What somebody tries who does not know.
const WRONG: &str = "5ecret-of-somebody-else";

/// A view of a shipped stream.
const VIEW: &str = "\
-- entity: card
-- key: card_id
SELECT card_id, count(*) AS events
FROM transactions
WHERE event_time > now() - INTERVAL '1 hour'
GROUP BY card_id
";

#[track_caller]
fn assert_no_secret(what: &str, text: &str) {
    // All of them begin so; the registry's is sent in another form, too.
    let header = authorization(USER, REGISTRY_SECRET);
    let encoded = header.split(' ').nth(1).expect("a scheme and the credentials");
    for secret in ["5ecret", encoded] {
        assert!(!text.contains(secret), "{what} shows a secret:\n{text}");
    }
}

/// Ended with this status, said all of `parts` whatever their case, and no secret.
#[track_caller]
fn assert_ended(what: &str, output: &Output, status: i32, parts: &[&str]) {
    assert_eq!(output.status.code(), Some(status), "{what}:\n{}\n{}", output.stdout, output.stderr);
    let said = output.stderr.to_lowercase();
    for part in parts {
        assert!(said.contains(&part.to_lowercase()), "{what}: no `{part}` in\n{}", output.stderr);
    }
    assert_no_secret(what, &output.stdout);
    assert_no_secret(what, &output.stderr);
}

fn line(name: &str, value: impl AsRef<Path>) -> String {
    format!("\"{name}\" = \"{}\"", value.as_ref().display())
}

/// Who shows the client's certificate.
fn certificate(security: &Security) -> Vec<String> {
    vec![
        line("security.protocol", "ssl"),
        line("ssl.ca.location", security.file("ca.crt")),
        line("ssl.certificate.location", security.file("client.crt")),
        line("ssl.key.location", security.file("client.key")),
    ]
}

/// Who logs in with what the file `kafka-password` holds.
fn login(security: &Security, mechanism: &str) -> Vec<String> {
    vec![
        line("security.protocol", "sasl_ssl"),
        line("ssl.ca.location", security.file("ca.crt")),
        line("sasl.mechanism", mechanism),
        line("sasl.username", USER),
        line("sasl.password_file", "kafka-password"),
    ]
}

/// A run that ends by itself, of a new group, with these lines in `[kafka]`.
fn once(setting: &Setting, brokers: &str, options: &[String], password: &str) -> Windrow {
    let setting = options.iter().fold(setting.another_group(), |setting, line| setting.kafka_option(line));
    let run = setting.windrow(&["run", "--until-caught-up", "--brokers", brokers]);
    run.file("kafka-password", &format!("{password}\n"))
}

#[test]
fn kafka_lets_in_whom_it_knows() {
    let security = Security::new(KAFKA_SECRET);
    let broker = KafkaBroker::start_secure(&security);
    let redis = RedisServer::start();
    let setting = Setting::on(&broker, "secure", 1, &redis);
    let all = payments(0..6, 1);
    setting.produce(&all);
    for (what, brokers, options) in [
        ("a certificate", security.tls_brokers(), certificate(&security)),
        ("PLAIN", security.login_brokers(), login(&security, "PLAIN")),
        ("SCRAM-SHA-512", security.login_brokers(), login(&security, "SCRAM-SHA-512")),
    ] {
        redis.flush();
        let output = once(&setting, &brokers, &options, KAFKA_SECRET).run_to_end(PATIENCE);
        assert_ended(what, &output, 0, &[]);
        assert_spending(&redis, &all);
    }
}

#[test]
fn whom_kafka_does_not_know_is_told_why() {
    let security = Security::new(KAFKA_SECRET);
    let broker = KafkaBroker::start_secure(&security);
    let redis = RedisServer::start();
    let setting = Setting::on(&broker, "insecure", 1, &redis);
    setting.produce(&payments(0..3, 1));
    let (tls, with_password) = (security.tls_brokers(), security.login_brokers());
    let unknown_authority = vec![line("security.protocol", "ssl")];
    let cases: [(&str, &str, Vec<String>, &str); 4] = [
        ("a wrong password, PLAIN", &with_password, login(&security, "PLAIN"), "authentication"),
        ("a wrong password, SCRAM", &with_password, login(&security, "SCRAM-SHA-512"), "authentication"),
        ("an authority that nobody vouches for", &tls, unknown_authority, "certificate"),
        ("no TLS", &tls, Vec::new(), "Kafka properties for TLS"),
    ];
    // All at once: each waits for a broker that lets it in.
    let running = cases
        .map(|(what, brokers, options, part)| (what, once(&setting, brokers, &options, WRONG).spawn(), part));
    for (what, run, part) in running {
        assert_ended(what, &run.wait(PATIENCE), 1, &["error: could not", part]);
    }
    assert_eq!(redis.keys("*"), Vec::<String>::new());
}

/// TLS, and a user with few rights.
fn secure_redis() -> RedisServer {
    let user = User {
        name: USER.to_owned(),
        password: REDIS_SECRET.to_owned(),
        rights: "~features:* +@all -@dangerous +info".to_owned(),
    };
    RedisServer::start_with(Options { tls: true, user: Some(user), ..Options::default() })
}

#[test]
fn redis_with_tls_and_users_lets_in_whom_it_knows() {
    let redis = secure_redis();
    let setting = Setting::new("secure-redis", 1, &redis).redis_option(&line("ca_cert", redis.ca_file()));
    let all = payments(0..5, 1);
    setting.produce(&all);
    let run = setting.windrow(&["run", "--until-caught-up"]);
    assert_ended("the right password", &run.run_to_end(PATIENCE), 0, &[]);
    assert_spending(&redis, &all);

    let wrong = setting.another_group().redis_url(redis.url().replace(REDIS_SECRET, WRONG));
    let run = wrong.windrow(&["run", "--until-caught-up"]);
    assert_ended("a wrong password", &run.run_to_end(PATIENCE), 1, &["error: redis at", "wrongpass"]);
}

#[test]
fn a_registry_with_tls_and_users_lets_in_whom_it_knows() {
    let registry = Registry::start_with_tls(USER, REGISTRY_SECRET);
    let id = registry.register("payments-value", SCHEMA);
    let mut job = Job::new();
    let options = "key = \"card_id\"\nevent_time = \"timestamp\"\nschema = \"registry:payments-value\"";
    let topic = job.stream("payments", 1, options);
    job.view("spending", SPENDING);
    job.file("right", REGISTRY_SECRET);
    job.file("wrong", WRONG);
    let event = |payment: &Payment| {
        Event::new(0, payment.card.as_str(), confluent(id, &body(payment))).at(payment.time_ms)
    };
    let all = payments(0..5, 1);
    job.client.produce(&topic, &all.iter().map(event).collect::<Vec<_>>());

    let (url, ca_file) = (registry.url(), registry.ca_file().display().to_string());
    let cases: [(&str, &str, &[&str], i32, &str); 3] = [
        ("a wrong password", "wrong", &["--schema-registry-ca-cert", &ca_file], 2, "401"),
        ("an authority that nobody vouches for", "right", &[], 2, "certificate"),
        ("the right password", "right", &["--schema-registry-ca-cert", &ca_file], 0, ""),
    ];
    for (what, password, trust, status, part) in cases {
        let user = ["--schema-registry-username", USER, "--schema-registry-password-file", password];
        let flags = [&["--until-caught-up", "--schema-registry-url", &url][..], &user, trust].concat();
        assert_ended(what, &job.run(&flags).run_to_end(PATIENCE), status, &[part]);
    }
    assert_spending(&job.redis, &all);
}

/// Given in the environment, in the file and in an address; everything that a
/// user sees, with the log at its most talkative.
#[test]
fn secrets_are_nowhere_to_be_seen() {
    let security = Security::new(KAFKA_SECRET);
    let broker = KafkaBroker::start_secure(&security);
    let redis = secure_redis();
    let registry = Registry::start_with_tls(USER, REGISTRY_SECRET);
    let id = registry.register("payments-value", SCHEMA);
    let setting = login(&security, "SCRAM-SHA-512")
        .iter()
        .filter(|line| !line.contains("password"))
        .fold(Setting::on(&broker, "secrets", 1, &redis), |setting, line| setting.kafka_option(line))
        .kafka_option(&line("ssl.key.password", KEY_SECRET))
        .redis_option(&line("ca_cert", redis.ca_file()));
    let windrow = |arguments: &[&str]| {
        setting
            .windrow(arguments)
            .env("WINDROW_LOG", "trace")
            .env("WINDROW_BROKERS", security.login_brokers())
            .env("WINDROW_KAFKA_PROPERTY", format!("sasl.password={KAFKA_SECRET}; debug=all"))
            .env("WINDROW_REDIS_PASSWORD", REDIS_SECRET)
            .env("WINDROW_SCHEMA_REGISTRY_URL", registry.url())
            .env("WINDROW_SCHEMA_REGISTRY_USERNAME", USER)
            .env("WINDROW_SCHEMA_REGISTRY_PASSWORD", REGISTRY_SECRET)
            .env("WINDROW_SCHEMA_REGISTRY_CA_CERT", registry.ca_file())
    };

    let all = payments(0..5, 1);
    // The registry is asked for the first one's schema; the second one is no payment.
    let (first, rest) = all.split_first().expect("five payments");
    let framed = confluent(id, &body(first));
    let events = [
        Event::new(0, first.card.as_str(), framed).at(first.time_ms),
        Event::new(0, "nobody", confluent(id, &[0xFF; 4])).at(first.time_ms),
    ];
    setting.client().produce(&setting.topic, &events);
    setting.produce(rest);
    let mut running = windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.eventually_exact(&redis, &all);
    for path in ["/metrics", "/healthz", "/readyz", "/"] {
        let (_, answer) = http_get(&setting.metrics, path).expect("the port answers");
        assert_no_secret(path, &answer);
    }
    assert_ended("run", &running.terminate(), 0, &["running"]);
    assert_ne!(registry.requests().len(), 0, "the registry was asked");

    let commands: [(&[&str], i32); 9] = [
        (&["run", "--help"], 0),
        (&["replay", "--help"], 0),
        (&["generate", "--help"], 0),
        (&["get", "--help"], 0),
        (&["check"], 0),
        (&["explain"], 0),
        (&["get", "card", "card-0-0"], 0),
        (&["check", "--metrics-addr", "nowhere", "--parallelism", "none"], 2),
        (&["run", "--redis-url", "redis://127.0.0.1:1,redis://127.0.0.1:2"], 2),
    ];
    for (arguments, status) in commands {
        assert_ended(&arguments.join(" "), &windrow(arguments).run_to_end(PATIENCE), status, &[]);
    }
    let help = windrow(&["run", "--help"]).run_to_end(PATIENCE).stdout;
    assert!(help.contains("WINDROW_REDIS_PASSWORD"), "{help}");
}

/// A secret may stand where it does not belong, under a misspelt name or in
/// two pieces: what is wrong is told without it.
#[test]
fn what_is_written_at_a_wrong_place_is_not_repeated() {
    #[track_caller]
    fn check(arguments: &[&str], files: &[(&str, &str)], status: i32, part: &str) {
        let windrow = Windrow::command(arguments.iter().copied());
        let windrow = files.iter().fold(windrow, |windrow, (name, text)| windrow.file(name, text));
        assert_ended(&arguments.join(" "), &windrow.run_to_end(PATIENCE), status, &[part]);
    }
    let two_pieces = Windrow::command(["check"]).env("WINDROW_KAFKA_PROPERTY", "sasl.password=a;5ecret");
    assert_ended("two pieces", &two_pieces.run_to_end(PATIENCE), 2, &["NAME=VALUE"]);
    check(&["check", "--kafka-property", WRONG], &[], 2, "NAME=VALUE");
    check(&["generate", "--brokers", "127.0.0.1:1", "--kafka-property", WRONG], &[], 2, "NAME=VALUE");
    check(&["check", "--redis-url", WRONG], &[], 2, "no address");
    check(&["check", &format!("--redis-pasword={WRONG}")], &[], 2, "--redis-pasword");
    check(&["check", "--redis-url", &format!("redis://me:12/{WRONG}@127.0.0.1:1")], &[], 2, "%2F");
    let misspelt = format!("[redis]\npasword = \"{WRONG}\"\n");
    check(&["check"], &[("windrow.toml", &misspelt)], 2, "did you mean `password`?");
    let not_closed = format!("[redis]\npassword = \"{WRONG}\n");
    check(&["check"], &[("windrow.toml", &not_closed)], 2, "windrow.toml:2");

    let view = ("sql/seen.sql", VIEW);
    let in_address = format!(
        "[schema_registry]\nurl = \"http://me:{WRONG}@127.0.0.1:1\"\n\
         [streams.transactions]\nschema = \"registry:transactions-value\"\n"
    );
    check(&["run"], &[view, ("windrow.toml", &in_address)], 2, "do not belong into the address");
    let property = format!("sasl.passwrod={WRONG}");
    let nowhere = ["--brokers", "127.0.0.1:1", "--kafka-property", &property];
    for command in ["generate", "check", "run"] {
        check(&[&[command][..], &nowhere].concat(), &[view], 2, "sasl.passwrod");
    }
}

/// The addresses, as the kernel writes them, on which somebody listens at a port.
fn bound(port: u16) -> Vec<String> {
    /// `TCP_LISTEN`
    const LISTENS: &str = "0A";
    let port = format!("{port:04X}");
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let text = tables.map(|table| fs::read_to_string(table).unwrap_or_default()).concat();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (address, local_port) = words.next()?.split_once(':')?;
            (local_port == port && words.nth(1)? == LISTENS).then(|| address.to_owned())
        })
        .collect()
}

#[test]
fn the_http_port_is_on_loopback_unless_told_otherwise() {
    let redis = RedisServer::start();
    let setting = Setting::new("loopback", 1, &redis);
    let (by_default, told) = (free_port(), free_port());
    let everywhere = format!("0.0.0.0:{told}");
    // The port alone leaves the host at its default.
    let default = setting.windrow(&["run"]).env("METRICS_PORT", by_default.to_string());
    let told_otherwise = setting.another_group().windrow(&["run", "--metrics-addr", &everywhere]);
    for (windrow, port, expected) in [(default, by_default, "0100007F"), (told_otherwise, told, "00000000")] {
        let mut running = windrow.spawn();
        running.wait_ready(&format!("127.0.0.1:{port}"));
        assert_eq!(bound(port), [expected]);
        let output = running.terminate();
        assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    }
}
