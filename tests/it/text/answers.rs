//! What `check`, `explain`, `get` and `preview` answer when nothing is wrong.

use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use super::{PAYMENTS, assert_contains, run, view};
use crate::payments::{NOON, Payment, SCHEMA, SPENDING, STEP, Setting, payments};
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, shipped};
use crate::worked::expected_transaction;

/// The shipped views.
static SQL: LazyLock<String> = LazyLock::new(|| shipped("sql"));

#[test]
fn the_shipped_views_are_right() {
    let output = run(&["check", "--sql-dir", SQL.as_str()], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let features = expected_transaction()["card-a"].len();
    assert_contains(
        &output.stdout,
        &[
            &format!("ok  transaction: {features} features of card,"),
            "ok  transaction_pattern: 5 features of card,",
            "ok  clickstream: ",
            "ok  device: 4 features of device,",
            "4 views over 3 streams are ready to run\n",
        ],
    );
}

/// The part after the name in a line of `explain`.
#[track_caller]
fn told<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no line `{name}` in\n{text}")).trim()
}

#[test]
fn explain_names_class_windows_state_and_why() {
    let output = run(&["explain", "transaction", "--sql-dir", SQL.as_str()], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let text = &output.stdout;
    assert_eq!(told(text, "view"), format!("transaction  ({}/transaction.sql)", *SQL));
    assert_eq!(told(text, "entity"), "card, by card_id");
    assert_eq!(told(text, "features"), expected_transaction()["card-a"].len().to_string());
    assert!(["tiled", "keyed", "full"].contains(&told(text, "class")), "{text}");
    assert!(!told(text, "why").is_empty() && !told(text, "cost").is_empty(), "{text}");
    assert!(told(text, "shards").starts_with("one a partition"), "{text}");
    assert_eq!(told(text, "ttl"), "24h");
    assert_eq!(told(text, "windows"), "5m, its edge moving in steps of 1s");
    assert_contains(
        text,
        &[
            " 30m, its edge moving in steps of 1s\n",
            " 24h, its edge moving in steps of 1m\n",
            "`transactions` for 24h",
        ],
    );
    assert!(!text.contains("clickstream"), "only the view that was asked for:\n{text}");
}

#[test]
fn explain_tells_all_views_and_knows_their_names() {
    let all = run(&["explain", "--sql-dir", SQL.as_str()], &[]);
    assert_eq!(all.status.code(), Some(0), "{}", all.stderr);
    for name in ["clickstream", "device", "transaction", "transaction_pattern"] {
        assert_contains(&all.stdout, &[&format!("{name}  ({}/{name}.sql)", *SQL)]);
    }
    let none = run(&["explain", "transactoin", "--sql-dir", SQL.as_str()], &[]);
    assert_eq!(none.status.code(), Some(2), "{}", none.stderr);
    assert_contains(
        &none.stderr,
        &["error: there is no view `transactoin`", "hint: did you mean `transaction`?"],
    );
}

#[test]
fn explain_tells_which_views_are_refused_and_why() {
    let unbounded = "-- entity: card\n-- key: card_id\nSELECT card_id, count(*) AS n\n\
                     FROM transactions\nGROUP BY card_id\n";
    let random = view("-- entity: card\n-- key: card_id", "card_id, max(random()) AS luck");
    let right = view("-- entity: card\n-- key: card_id", "card_id, count(*) AS n");
    let files =
        [("sql/right.sql", right.as_str()), ("sql/endless.sql", unbounded), ("sql/random.sql", &random)];
    let output = run(&["explain"], &files);
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
    let endless = "view       endless  (sql/endless.sql)\nclass      refused\n\
                   why        nothing bounds which events of stream `transactions` must be kept\n           \
                   hint: add a window that holds for every row";
    let luck = "view       random  (sql/random.sql)\nclass      refused\n\
                why        the result of `random` is not a function of its input\n           \
                hint: features must come out the same";
    assert_contains(&output.stdout, &["view       right  (sql/right.sql)\n", endless, luck]);
    assert_contains(
        &output.stderr,
        &[
            "error: view `endless` is refused: nothing bounds which events",
            "error: view `random` is refused: the result of `random`",
        ],
    );

    let one = run(&["explain", "random"], &files);
    assert_eq!(one.status.code(), Some(2), "{}", one.stderr);
    assert_contains(&one.stdout, &[luck]);
    assert!(!one.stdout.contains("endless") && !one.stdout.contains("right"), "{}", one.stdout);
    // `check` prints what is right, and here something is wrong.
    assert_eq!(run(&["check"], &files).stdout, "");
}

#[test]
fn explain_says_that_a_view_needs_all_partitions() {
    let by_card = view("-- entity: mcc\n-- key: mcc", "mcc, count(*) AS n");
    let by_mcc = by_card.replace("GROUP BY card_id", "GROUP BY mcc");
    let output = run(&["explain", "mccs"], &[("sql/mccs.sql", &by_mcc)]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert_contains(
        &output.stdout,
        &[
            "one over all partitions, so the view needs one process: \
             stream `transactions` is partitioned by `card_id`",
            "hint: repartition the topic",
        ],
    );
}

/// The words of the line that begins with a name.
#[track_caller]
fn line<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = lines.filter(|words| words.first() == Some(&name));
    found.next().unwrap_or_else(|| panic!("no line `{name}` in\n{text}"))
}

#[test]
fn get_prints_what_redis_has_of_an_entity() {
    let redis = RedisServer::start();
    let notes = SPENDING.replace("payments_10m", "recent");
    let setting = Setting::new("get", 1, &redis).view("beside", &notes);
    setting.produce(&payments(0..6, 1));
    let output = setting.windrow(&["run", "--until-caught-up"]).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);

    let get = |arguments: &[&str]| setting.windrow(arguments).run_to_end(PATIENCE);
    // Numbers 1 and 4: amounts 2 and 5, the last one for bread.
    let output = get(&["get", "card", "card-0-1"]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let of_view = output.stdout.split("\n\n").find(|part| part.contains("card-0-1:spending"));
    let of_view = of_view.unwrap_or_else(|| panic!("no view `spending` in\n{}", output.stdout));
    assert_contains(of_view, &["features:card:card-0-1:spending"]);
    assert_eq!(line(of_view, "payments_24h"), ["payments_24h", "2"]);
    assert_eq!(line(of_view, "amount_sum_24h"), ["amount_sum_24h", "7"]);
    assert_eq!(line(of_view, "last_note"), ["last_note", "bread"]);
    assert_contains(&output.stdout, &["features:card:card-0-1:beside", "recent"]);

    let output = get(&["get", "card", "card-0-1", "--view", "spending", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let mut object: Json = serde_json::from_str(&output.stdout).expect("JSON");
    let hash = object["spending"].as_object_mut().expect("the view's features");
    // The batch with the card's last payment may have had the next one too.
    let as_of = hash.remove("_as_of").and_then(|time| time.as_i64());
    assert!(as_of.is_some_and(|time| (NOON + 4 * STEP..=NOON + 5 * STEP).contains(&time)), "{as_of:?}");
    assert!(hash.remove("_computed_at").is_some_and(|time| time.is_number()));
    assert_eq!(
        object,
        json!({ "spending": {
            "payments_10m": 2, "payments_24h": 2, "amount_sum_24h": 7, "last_amount": 5, "last_note": "bread",
        }})
    );

    let nobody = get(&["get", "card", "card-9-9"]);
    assert_eq!(nobody.status.code(), Some(1), "{}", nobody.stderr);
    assert_contains(&nobody.stderr, &["has no features of card `card-9-9`", "hint: "]);
    let nothing = get(&["get", "cart", "card-0-1"]);
    assert_eq!(nothing.status.code(), Some(2), "{}", nothing.stderr);
    let said = ["error: no view has features of `cart`", "hint: did you mean `card`?"];
    assert_contains(&nothing.stderr, &said);
}

/// A run wants every view to be right; who asks for one wants that one.
#[test]
fn a_broken_view_does_not_matter_to_who_asks_for_another() {
    let redis = RedisServer::start();
    let setting = Setting::new("broken", 1, &redis);
    setting.produce(&payments(0..6, 1));
    let output = setting.windrow(&["run", "--until-caught-up"]).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);

    let broken = "-- entity: card\n-- key: card_id\nSELECT card_id, amout FROM payments\n";
    let setting = setting.view("broken", broken);
    let get = ["get", "card", "card-0-1"];
    for more in [&[][..], &["--view", "spending"][..]] {
        let output = setting.windrow(&[&get[..], more].concat()).run_to_end(PATIENCE);
        assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
        assert_eq!(line(&output.stdout, "payments_24h"), ["payments_24h", "2"]);
        assert_contains(&output.stderr, &["`windrow check` says"]);
    }
    let preview = setting.windrow(&["preview", "spending", "--events", "payments=events.jsonl"]);
    let output = preview.file("events.jsonl", "").run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    for arguments in [&["preview", "broken", "--events", "payments=events.jsonl"][..], &["run"][..]] {
        let output = setting.windrow(arguments).file("events.jsonl", "").run_to_end(PATIENCE);
        assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
        assert_contains(&output.stderr, &["`amout`", "hint: did you mean `amount`?"]);
    }
}

/// The rows of a printed table, each by the names of its columns.
fn table(text: &str) -> Vec<Vec<(String, String)>> {
    let rows = text.lines().filter_map(|line| line.trim().strip_prefix('|')?.strip_suffix('|'));
    let mut rows = rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    let names = rows.next().unwrap_or_default();
    rows.map(|cells| names.iter().cloned().zip(cells).collect()).collect()
}

#[test]
fn preview_prints_the_table_of_a_view_over_a_file() {
    let events = [
        Payment::new("card-a", 3, Some("rent"), NOON),
        Payment::new("card-b", 5, None, NOON + STEP),
        Payment::new("card-a", 4, Some("bread"), NOON + 60 * STEP),
    ];
    let lines: String = events.map(|event| event.json().to_string() + "\n").concat();
    let files = [
        ("windrow.toml", PAYMENTS),
        ("schemas/payments.avsc", SCHEMA),
        ("sql/spending.sql", SPENDING),
        ("events.jsonl", lines.as_str()),
    ];
    let output = run(&["preview", "spending", "--events", "payments=events.jsonl"], &files);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let rows = table(&output.stdout);
    assert_eq!(rows.len(), 2, "{}", output.stdout);
    let cell = |card: &str, name: &str| {
        let row = rows.iter().find(|row| row.iter().any(|(_, value)| value == card));
        let row = row.unwrap_or_else(|| panic!("no {card} in\n{}", output.stdout));
        let cell = row.iter().find(|(column, _)| column == name);
        cell.unwrap_or_else(|| panic!("no {name} in\n{}", output.stdout)).1.clone()
    };
    for (name, of_a, of_b) in [
        ("payments_10m", "1", "0"),
        ("payments_24h", "2", "1"),
        ("amount_sum_24h", "7", "5"),
        ("last_amount", "4", "5"),
    ] {
        assert_eq!(cell("card-a", name), of_a, "{name}");
        assert_eq!(cell("card-b", name), of_b, "{name}");
    }
    assert_eq!(cell("card-a", "last_note"), "bread");
}

#[test]
fn preview_of_no_events_prints_the_table_without_rows() {
    let arguments = ["preview", "device", "--events", "events.jsonl", "--sql-dir", SQL.as_str()];
    let output = run(&arguments, &[("events.jsonl", "")]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert_contains(&output.stdout, &["| device_id ", " events_24h "]);
    assert_eq!(table(&output.stdout), Vec::<Vec<(String, String)>>::new());
}

/// From tiles each value has an order of its own; plain SQL sorts events once.
#[test]
fn preview_says_of_which_views_it_can_show_nothing() {
    let two_orders = "-- entity: card\n-- key: card_id\n\
        SELECT card_id, nth_value(amount, 2 ORDER BY event_time) AS second, nth_value(note, 2 ORDER BY amount) AS note\n\
        FROM payments WHERE event_time > now() - INTERVAL '10 minutes' GROUP BY card_id\n";
    let files = [
        ("windrow.toml", PAYMENTS),
        ("schemas/payments.avsc", SCHEMA),
        ("sql/orders.sql", two_orders),
        ("events.jsonl", ""),
    ];
    let check = run(&["check"], &files);
    assert_eq!(check.status.code(), Some(0), "{}", check.stderr);
    let output = run(&["preview", "orders", "--events", "payments=events.jsonl"], &files);
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
    let parts =
        ["view `orders` can be run and not previewed", "orders.sql", "compute them in several SELECTs"];
    assert_contains(&output.stderr, &parts);
}

/// The same start time gives the same events, also when they are made as fast
/// as this machine can.
#[test]
fn generated_events_are_the_same_again() {
    let arguments = "generate --output - --count 500 --seed 3 --rate 0 --start-time 2025-03-01T12:00:00Z";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let (one, two) = (run(&arguments, &[]), run(&arguments, &[]));
    assert_eq!(one.status.code(), Some(0), "{}", one.stderr);
    assert_eq!(one.stdout.lines().count(), 500);
    assert!(one.stdout == two.stdout, "the events differ");
}

/// What `generate` writes, `preview` reads.
#[test]
fn preview_of_generated_events() {
    let generate = "generate --output - --count 200 --seed 3 --rate 0 --event-rate 100 --entities 5 \
                    --start-time 2025-03-01T12:00:00Z";
    let events = run(&generate.split_whitespace().collect::<Vec<_>>(), &[]);
    assert_eq!(events.status.code(), Some(0), "{}", events.stderr);
    let arguments = ["preview", "device", "--events", "events.jsonl", "--sql-dir", SQL.as_str()];
    let output = run(&arguments, &[("events.jsonl", &events.stdout)]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let devices = events.stdout.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    let devices = devices.filter(|event| event["stream"] == "devices").count();
    let counted: usize = table(&output.stdout)
        .iter()
        .flatten()
        .filter(|(name, _)| name == "events_24h")
        .map(|(_, value)| value.parse::<usize>().expect("a count"))
        .sum();
    assert!(devices > 0);
    assert_eq!(counted, devices, "{}", output.stdout);
}
