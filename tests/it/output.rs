//! Redis: away and back, with its data and without; what is written and what
//! is not; users, passwords and TLS.

use crate::oracle::{DAY, HOUR, MINUTE, Row, Value};
use crate::payments::{NOON, Payment, STEP, Setting, assert_spending, compare, payments, spending};
use crate::support::kafka::KafkaBroker;
use crate::support::process::http_get;
use crate::support::redis::{Options, RedisServer, User};
use crate::support::{PATIENCE, eventually, unique};

/// Ends a run by itself.
const ONCE: [&str; 2] = ["run", "--until-caught-up"];

const WRITTEN: &str = r#"redis_writes_total{status="acknowledged"}"#;
const RETRIED: &str = r#"redis_writes_total{status="retried"}"#;
const PROCESSED: &str = r#"stream_events_processed_total{status="processed",stream="payments"}"#;

/// How the lag of a partition is called.
fn lag(setting: &Setting, partition: i32) -> String {
    format!(r#"kafka_consumer_lag{{partition="{partition}",topic="{}"}}"#, setting.topic)
}

/// An address without user and password.
fn without_credentials(redis: &RedisServer) -> String {
    let url = redis.url();
    let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
    format!("{scheme}://{}", rest.split_once('@').map_or(rest, |(_, address)| address))
}

/// The same for Kafka: what came before and after is exact, and nothing ends.
#[test]
fn kafka_goes_and_comes_back() {
    let redis = RedisServer::start();
    let mut broker = KafkaBroker::start();
    let setting = Setting::on(&broker, "restarted", 2, &redis);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let all = payments(0..80, 2);
    setting.produce(&all[..40]);
    setting.eventually_exact(&redis, &all[..40]);

    broker.stop();
    running.wait_for_line("Kafka: ");
    broker.start_again();
    setting.produce(&all[40..]);
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
}

/// Longer than librdkafka allows a consumer not to poll, here: one that waits
/// for Redis stays a member of its group.
#[test]
fn redis_goes_and_comes_back_with_its_data() {
    let mut redis = RedisServer::start_persistent();
    let setting = Setting::new("outage", 2, &redis)
        .option("max_batch_events = 10")
        .kafka_option(r#""max.poll.interval.ms" = "8000""#);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let all = payments(0..240, 2);
    setting.produce(&all[..40]);
    setting.eventually_exact(&redis, &all[..40]);
    setting.eventually_committed();
    let committed = setting.committed();

    redis.stop();
    setting.eventually_readyz(503);
    setting.produce(&all[40..]);
    // Nine tries take some twelve seconds.
    setting.eventually_at_least(RETRIED, 9.0);
    assert_eq!(setting.committed(), committed, "nothing is committed that Redis does not have");
    // One batch is being written, one waits for that, one for this.
    let processed = setting.sample(PROCESSED);
    assert!((40.0..=70.0).contains(&processed), "reading did not stop: {processed} of 240");
    setting.eventually_at_least(&lag(&setting, 0), 100.0);
    setting.eventually_at_least(&lag(&setting, 1), 100.0);
    let alive = http_get(&setting.metrics, "/healthz").expect("it answers");
    assert_eq!(alive.0, 200, "it waits, and is well: {}", alive.1);

    redis.start_again();
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();
    setting.eventually_readyz(200);
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert!(!output.stderr.contains("partition given up"), "it left its group:\n{}", output.stderr);
}

#[test]
fn redis_comes_back_empty_and_everything_is_written_again() {
    let mut redis = RedisServer::start();
    let setting = Setting::new("emptied", 2, &redis);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let all = payments(0..41, 2);
    setting.produce(&all[..40]);
    setting.eventually_exact(&redis, &all[..40]);

    redis.stop();
    setting.eventually_readyz(503);
    // One card of six.
    setting.produce(&all[40..]);
    setting.eventually_at_least(RETRIED, 1.0);
    redis.start_again();
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();
    setting.eventually_readyz(200);
    assert_eq!(running.terminate().status.code(), Some(0));
}

#[test]
fn an_emptied_redis_is_filled_again_without_a_new_event() {
    let mut redis = RedisServer::start();
    let setting = Setting::new("emptied-in-silence", 1, &redis);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let all = payments(0..20, 1);
    setting.produce(&all);
    setting.eventually_exact(&redis, &all);

    redis.stop();
    setting.eventually_readyz(503);
    redis.start_again();
    assert_eq!(redis.keys("*"), Vec::<String>::new());
    setting.eventually_exact(&redis, &all);
    assert_eq!(running.terminate().status.code(), Some(0));
}

#[test]
fn a_feature_that_becomes_null_loses_its_field() {
    let redis = RedisServer::start();
    let setting = Setting::new("nulls", 1, &redis);
    let all = [Payment::new("card-a", 5, Some("rent"), NOON), Payment::new("card-a", 7, None, NOON + STEP)];
    setting.produce(&all[..1]);
    assert_eq!(setting.windrow(&ONCE).run_to_end(PATIENCE).status.code(), Some(0));
    assert_eq!(redis.hgetall("features:card:card-a:spending")["last_note"], "rent");

    setting.produce(&all[1..]);
    assert_eq!(setting.windrow(&ONCE).run_to_end(PATIENCE).status.code(), Some(0));
    let hash = redis.hgetall("features:card:card-a:spending");
    assert!(!hash.contains_key("last_note"), "{hash:?}");
    assert_spending(&redis, &all);
}

#[test]
fn a_feature_that_becomes_null_in_one_run_loses_its_field() {
    let redis = RedisServer::start();
    let setting = Setting::new("nulls-live", 1, &redis);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let notes = [Some("rent"), None, Some("bread"), None];
    let all: Vec<Payment> = (0..)
        .zip(notes)
        .map(|(number, note)| Payment::new("card-a", number, note, NOON + number * STEP))
        .collect();
    for end in 1..=all.len() {
        setting.produce(&all[end - 1..end]);
        setting.eventually_exact(&redis, &all[..end]);
    }
}

#[test]
fn null_is_written_as_text_where_that_is_wanted() {
    let redis = RedisServer::start();
    let setting = Setting::new("null-text", 1, &redis).redis_option(r#"null = "text""#);
    setting.produce(&[Payment::new("card-a", 7, None, NOON)]);
    assert_eq!(setting.windrow(&ONCE).run_to_end(PATIENCE).status.code(), Some(0));
    assert_eq!(redis.hgetall("features:card:card-a:spending")["last_note"], "null");
}

#[test]
fn an_entity_without_rows_has_no_hash() {
    let redis = RedisServer::start();
    let setting = Setting::new("no-rows", 1, &redis);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let first = Payment::new("card-a", 5, None, NOON);
    setting.produce(std::slice::from_ref(&first));
    setting.eventually_exact(&redis, std::slice::from_ref(&first));

    // Rounded up to the minute, the edge of the day is exactly the first payment: it is outside.
    let second = Payment::new("card-b", 6, None, NOON + DAY - MINUTE + 1);
    let both = [first, second];
    assert_eq!(spending(&both).len(), 1);
    setting.produce(&both[1..]);
    setting.eventually_exact(&redis, &both);
    assert_eq!(redis.keys("*"), ["features:card:card-b:spending"]);
}

#[test]
fn only_changed_entities_are_written() {
    let redis = RedisServer::start();
    let setting = Setting::new("changed", 1, &redis);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    // All at one time, so that no window moves.
    let payment = |number: i64| Payment::new(&format!("card-{number}"), number, None, NOON);
    let mut all: Vec<Payment> = (0..30).map(payment).collect();
    setting.produce(&all);
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();
    let before = setting.sample(WRITTEN);
    assert!(before >= 30.0, "{before}");

    let more: Vec<Payment> = [4, 11, 27].map(payment).into();
    setting.produce(&more);
    all.extend(more);
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();
    let written = setting.sample(WRITTEN) - before;
    assert!((2.5..3.5).contains(&written), "three cards changed, {written} hashes were written");
}

#[test]
fn a_hash_lives_as_long_as_the_view_says() {
    let redis = RedisServer::start();
    let week = format!("-- view: week\n-- ttl: 7d\n{}", crate::payments::SPENDING);
    let setting = Setting::new("ttl", 1, &redis).view("week", &week);
    setting.produce(&payments(0..3, 1));
    assert_eq!(setting.windrow(&ONCE).run_to_end(PATIENCE).status.code(), Some(0));
    for (view, ttl) in [("spending", DAY), ("week", 7 * DAY)] {
        let left = redis.ttl_ms(&format!("features:card:card-0-0:{view}")).expect("the hash expires");
        assert!((ttl - HOUR..=ttl).contains(&left), "{view}: {left} of {ttl} ms");
    }
}

#[test]
fn bookkeeping_fields_say_for_when_and_when_a_row_was_computed() {
    let redis = RedisServer::start();
    let setting = Setting::new("bookkeeping", 1, &redis);
    setting.produce(&payments(0..3, 1));
    assert_eq!(setting.windrow(&ONCE).run_to_end(PATIENCE).status.code(), Some(0));
    let hash = redis.hgetall("features:card:card-0-2:spending");
    assert_eq!(hash["_as_of"], (NOON + 2 * STEP).to_string());
    let computed_at: i64 = hash["_computed_at"].parse().expect("milliseconds");
    // After this test was written, and in milliseconds.
    assert!(computed_at > 1_750_000_000_000 && computed_at < 4_000_000_000_000, "{computed_at}");
}

#[test]
fn a_user_with_a_password_from_a_file() {
    let user = User {
        name: "windrow".to_owned(),
        password: "correct-horse-battery".to_owned(),
        rights: "~features:* +@all -@dangerous +info".to_owned(),
    };
    let redis = RedisServer::start_with(Options { user: Some(user), ..Options::default() });
    let setting = Setting::new("acl", 1, &redis)
        .redis_url(without_credentials(&redis))
        .redis_option(r#"username = "windrow""#)
        .redis_option(r#"password_file = "password.txt""#);
    let all = payments(0..5, 1);
    setting.produce(&all);
    let run = setting.windrow(&ONCE).file("password.txt", "correct-horse-battery\n");
    let output = run.run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert_spending(&redis, &all);
    assert!(!output.stderr.contains("correct-horse"), "{}", output.stderr);
}

#[test]
fn a_wrong_password_ends_the_start_and_is_not_shown() {
    let user = User {
        name: "windrow".to_owned(),
        password: "correct-horse-battery".to_owned(),
        rights: "~features:* +@all".to_owned(),
    };
    let redis = RedisServer::start_with(Options { user: Some(user), ..Options::default() });
    let setting = Setting::new("wrong-password", 1, &redis)
        .redis_url(without_credentials(&redis))
        .redis_option(r#"username = "windrow""#)
        .redis_option(r#"password_file = "password.txt""#);
    let output = setting.windrow(&["run"]).file("password.txt", "wrong-stapler\n").run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("WRONGPASS"), "{}", output.stderr);
    assert!(output.stderr.contains("error: Redis at 127.0.0.1:"), "{}", output.stderr);

    // A password in the address is as secret.
    let address = without_credentials(&redis).replacen("://", "://windrow:wrong-stapler@", 1);
    let in_address = Setting::new("wrong-password", 1, &redis).redis_url(address);
    let second = in_address.windrow(&["run"]).run_to_end(PATIENCE);
    assert_eq!(second.status.code(), Some(1), "{}", second.stderr);
    for printed in [&output, &second] {
        let text = format!("{}{}", printed.stdout, printed.stderr);
        assert!(!text.contains("stapler") && !text.contains("correct-horse"), "{text}");
    }
}

#[test]
fn tls_with_an_own_authority() {
    let redis = RedisServer::start_with(Options { tls: true, ..Options::default() });
    let ca_cert = redis.ca_file();
    let setting =
        Setting::new("tls", 1, &redis).redis_option(&format!("ca_cert = \"{}\"", ca_cert.display()));
    let all = payments(0..5, 1);
    setting.produce(&all);
    let output = setting.windrow(&ONCE).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert_spending(&redis, &all);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let redis = RedisServer::start_with(Options { tls: true, ..Options::default() });
    let setting = Setting::new("tls-unknown", 1, &redis);
    let output = setting.windrow(&["run"]).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("certificate"), "{}", output.stderr);
}

#[test]
fn the_name_of_a_hash_follows_the_template() {
    let redis = RedisServer::start();
    let prefix = unique("own");
    let line = format!("key_template = \"{prefix}/{{view}}/{{key}}\"");
    let setting = Setting::new("template", 1, &redis).redis_option(&line);
    setting.produce(&payments(0..1, 1));
    assert_eq!(setting.windrow(&ONCE).run_to_end(PATIENCE).status.code(), Some(0));
    assert_eq!(redis.keys("*"), [format!("{prefix}/spending/card-0-0")]);
}

/// A key of another type costs its entity the features, and nobody else.
#[test]
fn a_key_of_another_type_stops_nobody() {
    let redis = RedisServer::start();
    let setting = Setting::new("wrong-type", 1, &redis);
    redis.query::<()>(redis::cmd("SET").arg("features:card:card-a:spending").arg("mine"));
    let all = [Payment::new("card-a", 1, None, NOON), Payment::new("card-b", 2, None, NOON)];
    setting.produce(&all);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.eventually_at_least(r#"redis_writes_total{status="refused"}"#, 1.0);
    setting.eventually_committed();
    let hash = eventually(PATIENCE, "card-b has its hash", || {
        let hash = redis.hgetall("features:card:card-b:spending");
        if hash.is_empty() { Err("it has none".to_owned()) } else { Ok(hash) }
    });
    assert_eq!(hash["last_amount"], "2");
    assert_eq!(redis.query::<String>(redis::cmd("GET").arg("features:card:card-a:spending")), "mine");
}

/// Two key columns are joined with a colon; timestamps are milliseconds,
/// decimals and floats text, booleans words, lists JSON.
#[test]
fn values_of_every_kind_are_written_as_promised() {
    let redis = RedisServer::start();
    let sql = "\
-- entity: pair
-- key: card_id, merchant
SELECT
  card_id,
  merchant,
  count(*) AS payments,
  avg(CAST(amount AS DOUBLE)) AS mean,
  CAST(sum(amount) AS DECIMAL(12, 2)) AS total,
  sum(amount) > 5 AS large,
  max(event_time) AS last_time,
  array_agg(amount ORDER BY amount) AS amounts
FROM payments
WHERE event_time > now() - INTERVAL '24 hours'
GROUP BY card_id, merchant
";
    let setting = Setting::new("kinds", 1, &redis).without_spending().view("kinds", sql);
    let all = [Payment::new("card-a", 3, None, NOON), Payment::new("card-a", 4, None, NOON + STEP)];
    setting.produce(&all);
    let output = setting.windrow(&ONCE).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let expected = Row::from([
        ("payments", Value::Int(2)),
        ("mean", Value::Float(3.5)),
        ("total", Value::Text("7.00".to_owned())),
        ("large", Value::Bool(true)),
        ("last_time", Value::TimestampMs(NOON + STEP)),
        ("amounts", Value::Text("[3,4]".to_owned())),
    ]);
    let rows = [("card-a:shop-0".to_owned(), expected)].into();
    if let Err(message) = compare(&redis, "pair", "kinds", &rows) {
        panic!("{message}");
    }
}
