//! What the binary says: problems with their place, valid names and hint;
//! `--help`; and, in [`answers`], what its commands answer. Expected texts are
//! written out.

mod answers;

use crate::payments::SCHEMA;
use crate::support::PATIENCE;
use crate::support::process::{Output, Windrow};

/// A stream of the schema that [`crate::payments`] has.
const PAYMENTS: &str = r#"[streams.payments]
topic = "payments"
key = "card_id"
event_time = "timestamp"
schema = "payments.avsc"
"#;

#[track_caller]
fn run(arguments: &[&str], files: &[(&str, &str)]) -> Output {
    let windrow = Windrow::command(arguments.iter().copied());
    let windrow = files.iter().fold(windrow, |windrow, (name, contents)| windrow.file(name, contents));
    windrow.run_to_end(PATIENCE)
}

#[track_caller]
fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no\n{part}\nin\n{text}");
    }
}

/// What `windrow check` finds wrong with these files.
#[track_caller]
fn problems(files: &[(&str, &str)], parts: &[&str]) -> String {
    let output = run(&["check"], files);
    assert_eq!(output.status.code(), Some(2), "{}\n{}", output.stdout, output.stderr);
    assert_eq!(output.stdout, "", "problems are not what was asked for");
    assert_contains(&output.stderr, parts);
    output.stderr
}

/// How many problems a text shows.
fn count(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("error: ")).count()
}

/// A view by card over the transactions of a day.
fn view(header: &str, columns: &str) -> String {
    let tail = "FROM transactions\nWHERE event_time > now() - INTERVAL '24 hours'\nGROUP BY card_id\n";
    format!("{header}\nSELECT {columns}\n{tail}")
}

#[test]
fn every_problem_of_every_view_is_shown_with_its_place() {
    const HEADER: &str = "-- entity: card\n-- key: card_id";
    let misspelt = view(HEADER, "card_id, sum(amout) AS total");
    let stream = "-- entity: card\n-- key: card_id\nSELECT card_id, count(*) AS n\nFROM transaction\n\
                  WHERE event_time > now() - INTERVAL '1 hour'\nGROUP BY card_id\n";
    let header = view("-- entitty: card\n-- key: card_id\n-- ttl: soon", "card_id, count(*) AS n");
    let key = view("-- entity: card\n-- key: card", "card_id, count(*) AS n");
    let ttl = view("-- entity: card\n-- key: card_id\n-- ttl: 1h", "card_id, count(*) AS n");
    let same = view("-- entity: card\n-- key: card_id\n-- view: same", "card_id, count(*) AS n");
    let unbounded = "-- entity: card\n-- key: card_id\nSELECT card_id, count(*) AS n\n\
                     FROM transactions\nGROUP BY card_id\n";
    let random = view(HEADER, "card_id, max(random()) AS luck");
    let syntax = "-- entity: card\n-- key: card_id\nSELECT card_id FORM transactions\n";
    let text = problems(
        &[
            ("sql/a_misspelt.sql", &misspelt),
            ("sql/b_stream.sql", stream),
            ("sql/c_header.sql", &header),
            ("sql/d_key.sql", &key),
            ("sql/e_ttl.sql", &ttl),
            ("sql/f_one.sql", &same),
            ("sql/g_two.sql", &same),
            ("sql/h_unbounded.sql", unbounded),
            ("sql/i_random.sql", &random),
            ("sql/j_syntax.sql", syntax),
        ],
        &[
            "error: view `a_misspelt` names a column that stream `transactions` does not have: `amout`\n  \
             --> sql/a_misspelt.sql:3:21\n  \
             valid columns: _offset, _partition, _timestamp, amount, card_id, currency, device_id,",
            "\nhint: did you mean `amount`?",
            "error: view `b_stream` reads a stream that is not configured: `transaction`\n  \
             --> sql/b_stream.sql:4:6\n  \
             valid streams: clicks, devices, transactions\nhint: did you mean `transactions`?",
            "error: the header has an entry that is not known: `entitty`\n  \
             --> sql/c_header.sql:1\n  \
             valid entries: entity, key, resolution, ttl, view\nhint: did you mean `entity`?",
            "error: the header does not say `entity`\n  --> sql/c_header.sql:1\n",
            "error: the header's `ttl`: `soon` is not a duration",
            "\n  --> sql/c_header.sql:3",
            "error: the key of view `d_key` is not one of its output columns: `card`\n  \
             --> sql/d_key.sql:2\n  \
             output columns: card_id, n\nhint: did you mean `card_id`?",
            "error: view `e_ttl` has a ttl of 1h, shorter than its longest window of 24h",
            "\n  --> sql/e_ttl.sql:3\nhint: write `-- ttl: 24h` or longer, or leave it out",
            "error: two views are named `same`: sql/f_one.sql and sql/g_two.sql\n  \
             --> sql/g_two.sql:3\nhint: ",
            "error: view `h_unbounded` is refused: \
             nothing bounds which events of stream `transactions` must be kept\n  \
             --> sql/h_unbounded.sql:4:6\nhint: add a window that holds for every row",
            "error: view `i_random` is refused: the result of `random` is not a function of its input\n  \
             --> sql/i_random.sql:3:21\nhint: ",
            "error: view `j_syntax` is not valid SQL: ",
            "\n  --> sql/j_syntax.sql:3:21",
        ],
    );
    // The header has three, every other file one.
    assert_eq!(count(&text), 11, "{text}");
}

#[test]
fn every_problem_of_the_configuration_is_shown_with_its_place() {
    const FILE: &str = r#"brokerz = "a:1"
batch_interval = "soon"
[redis]
null = "nil"
[streams.transactions]
topik = "x"
"#;
    let good = view("-- entity: card\n-- key: card_id", "card_id, count(*) AS n");
    let text = problems(
        &[("windrow.toml", FILE), ("sql/good.sql", &good)],
        &[
            "error: unknown option `brokerz`\n  --> windrow.toml:1:1\n  valid options: ",
            "\nhint: did you mean `brokers`?",
            "error: `batch_interval`: `soon` is not a duration",
            "\n  --> windrow.toml:2:1",
            "error: `redis.null`: `nil` is not known\n  --> windrow.toml:4:1\n  valid values: remove, text",
            "error: unknown option `streams.transactions.topik`\n  \
             --> windrow.toml:6:1\n  valid options: dead_letter_file,",
            "\nhint: did you mean `topic`?",
        ],
    );
    assert_eq!(count(&text), 4, "{text}");
}

#[test]
fn every_problem_of_the_schemas_is_shown_with_its_place() {
    let good = view("-- entity: card\n-- key: card_id", "card_id, count(*) AS n");
    problems(
        &[
            ("sql/good.sql", &good),
            ("schemas/a_broken.avsc", "{\n \"type\": }"),
            ("schemas/b_odd.avsc", r#"{"type": "recrod", "name": "B"}"#),
        ],
        &[
            "error: this is not JSON: ",
            "\n  --> schemas/a_broken.avsc:2:",
            "error: this is no Avro schema: ",
            "\n  --> schemas/b_odd.avsc",
        ],
    );
}

/// One run says what is wrong with the configuration, with a schema and with a view.
#[test]
fn problems_of_every_kind_are_shown_together() {
    let misspelt = view("-- entity: card\n-- key: card_id", "card_id, sum(amout) AS total");
    problems(
        &[
            ("windrow.toml", "brokerz = \"a:1\"\n"),
            ("schemas/broken.avsc", "{\n \"type\": }"),
            ("sql/misspelt.sql", &misspelt),
        ],
        &[
            "error: unknown option `brokerz`\n  --> windrow.toml:1:1",
            "error: this is not JSON: ",
            "\n  --> schemas/broken.avsc:2:",
            "error: view `misspelt` names a column that stream `transactions` does not have: `amout`",
        ],
    );
}

#[test]
fn what_is_wrong_with_a_stream() {
    let schema = ("schemas/payments.avsc", SCHEMA);
    let good = view("-- entity: card\n-- key: card_id", "card_id, count(*) AS n");
    let good = ("sql/good.sql", good.as_str());
    problems(
        &[("windrow.toml", &PAYMENTS.replace("payments.avsc", "payment.avsc")), schema, good],
        &[
            "error: there is no schema `payment.avsc`\n  --> windrow.toml:1:",
            "\nhint: did you mean `payments.avsc`?",
        ],
    );
    problems(
        &[("windrow.toml", &PAYMENTS.replace("\"card_id\"", "\"card\"")), schema, good],
        &[
            "error: stream `payments`: the schema has no column `card`\n  --> windrow.toml:1:",
            "\n  valid columns: amount, card_id, merchant, note, timestamp\nhint: did you mean `card_id`?",
        ],
    );
    // A plain number gives no time until its unit is said.
    let amount = PAYMENTS.replace("\"timestamp\"", "\"amount\"");
    problems(
        &[("windrow.toml", &amount), schema, good],
        &[
            "error: stream `payments`: column `amount` is a plain Int64: its unit is not known",
            "`event_time_unit`",
        ],
    );
    problems(
        &[("windrow.toml", "[streams.orders]\ntopic = \"o\"\n"), good],
        &["error: stream `orders` lacks `key`, `event_time`, `schema`\n  --> windrow.toml:1:"],
    );
}

#[test]
fn options_of_a_service_that_do_not_do_are_problems() {
    let good = view("-- entity: card\n-- key: card_id", "card_id, count(*) AS n");
    let good = ("sql/good.sql", good.as_str());
    for (options, expected) in [
        (
            "redis.mode = \"cluster\"\nredis.url = \"redis://store:6379/3\"\n",
            "Redis Cluster has only database 0",
        ),
        ("redis.ca_cert = \"ca.pem\"\nredis.url = \"rediss://store:6379\"\n", "`ca.pem`: not in PEM format"),
        ("schema_registry.ca_cert = \"ca.pem\"\nschema_registry.url = \"https://registry\"\n", "ca.pem"),
    ] {
        problems(&[("windrow.toml", options), ("ca.pem", "no certificate"), good], &[expected]);
    }
    let windrow = Windrow::command(["run"]).env("WINDROW_LOG", "windrow=loud");
    let output = windrow.run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
    assert_contains(&output.stderr, &["WINDROW_LOG=`windrow=loud` is no log filter"]);
}

#[test]
fn a_run_is_refused_as_check_refuses() {
    let misspelt = view("-- entity: card\n-- key: card_id", "card_id, sum(amout) AS total");
    let output = run(&["run"], &[("sql/misspelt.sql", &misspelt)]);
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
    assert_contains(&output.stderr, &["does not have: `amout`", "hint: did you mean `amount`?"]);
}

#[test]
fn a_directory_without_views_is_a_problem() {
    problems(
        &[("sql/README.md", "nothing here")],
        &["error: there is no feature view\n  --> sql\nhint: write one"],
    );
}

#[test]
fn help_names_every_flag_of_the_main_job() {
    let output = run(&["run", "--help"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let flags = "--config --brokers --redis-url --sql-dir --schema-dir --schema-registry-url --group-id \
                 --batch-interval --max-batch-events --parallelism --idle-after --max-out-of-order \
                 --allowed-lateness --max-future --until-caught-up --checkpoint-dir --checkpoint-interval \
                 --metrics-addr --start-from --log-format";
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    for flag in flags.split_whitespace() {
        assert!(words.contains(&flag), "no {flag} in\n{}", output.stdout);
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let commands = ["run", "demo", "generate", "replay", "check", "explain", "preview", "get", "health"];
    let whole = run(&["--help"], &[]);
    assert_eq!(whole.status.code(), Some(0), "{}", whole.stderr);
    for command in commands {
        assert_contains(&whole.stdout, &[&format!("\n  {command}")]);
        let output = run(&[command, "--help"], &[]);
        assert_eq!(output.status.code(), Some(0), "{command}: {}", output.stderr);
        assert_contains(&output.stdout, &["Examples:\n", &format!("  windrow {command}")]);
    }
    for (flag, command) in [
        ("--for", "demo"),
        ("--seed", "generate"),
        ("--from", "replay"),
        ("--to", "replay"),
        ("--views", "replay"),
        ("--dry-run", "replay"),
        ("--parquet", "replay"),
        ("--events", "preview"),
        ("--json", "get"),
        ("--view", "get"),
    ] {
        assert_contains(&run(&[command, "--help"], &[]).stdout, &[flag]);
    }
}

#[test]
fn wrong_usage_has_status_2() {
    let cases: [(&[&str], &str); 8] = [
        (&["run", "--brokerz", "a:1"], "--brokerz"),
        (&["runn"], "runn"),
        (&["get", "card"], "<KEY>"),
        (&["replay"], "--from"),
        (&["replay", "--from", "0:9", "--to", "0:3"], "ends at offset 3, before it begins at 9"),
        (&["check", "--batch-interval", "soon"], "--> --batch-interval"),
        (&["check", "--sql-dir", "nowhere"], "there is no directory nowhere"),
        (&["check", "--config", "nowhere.toml"], "nowhere.toml"),
    ];
    for (arguments, part) in cases {
        let output = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", output.stderr);
        assert_contains(&output.stderr, &[part]);
        assert_eq!(output.stdout, "", "{arguments:?}");
    }
    let output = run(&["check", "--sql-dir", "nowhere"], &[]);
    assert_eq!(count(&output.stderr), 1, "told once: {}", output.stderr);
}

#[test]
fn a_misspelt_name_in_the_environment_is_a_problem() {
    let generate = |name: &str, value: &str| {
        let windrow = Windrow::command(["generate", "--output", "-", "--count", "1"]);
        windrow.env(name, value).run_to_end(PATIENCE)
    };
    let output = generate("WINDROW_BATCH_INTERVALL", "1s");
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
    let said = ["`WINDROW_BATCH_INTERVALL`", "hint: did you mean `WINDROW_BATCH_INTERVAL`?"];
    assert_contains(&output.stderr, &said);
    // As Kubernetes sets it for a Service called windrow.
    for (name, value) in [("WINDROW_SERVICE_HOST", "10.0.0.1"), ("WINDROW_PORT", "tcp://10.0.0.1:8088")] {
        let output = generate(name, value);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", output.stderr);
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = ("windrow.toml", "batch_interval = \"file\"\n");
    let check = |arguments: &[&str], environment: Option<&str>| {
        let windrow = Windrow::command(arguments.iter().copied()).file(file.0, file.1);
        let windrow = match environment {
            Some(value) => windrow.env("WINDROW_BATCH_INTERVAL", value),
            None => windrow,
        };
        windrow.run_to_end(PATIENCE).stderr
    };
    assert_contains(&check(&["check"], None), &["`file` is not a duration", "--> windrow.toml:1:1"]);
    assert_contains(
        &check(&["check"], Some("environment")),
        &["`environment` is not a duration", "--> environment variable WINDROW_BATCH_INTERVAL"],
    );
    assert_contains(
        &check(&["check", "--batch-interval", "flag"], Some("environment")),
        &["`flag` is not a duration", "--> --batch-interval"],
    );
}
