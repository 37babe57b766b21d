//! Views that are refused, and views whose header says too much or too little:
//! what is said of them, and where.

use std::time::Duration;

use super::{HEADER, counting, file, plan, plan_all, try_plan};
use crate::error::Place;
use crate::view::plan::ViewFile;

const FILE: &str = "sql/v.sql";

/// A view that is refused: part of the message, and of the hint or the valid
/// names. `«` and `»` stand around the place, and are no part of the text.
#[track_caller]
fn check_refused(marked: &str, message: &str, help: &str) {
    let view = file("v", marked);
    let place = view.text.find('«').map(|at| {
        let before = &view.text[..at];
        let line = before.matches('\n').count() as u64 + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
        (line, column)
    });
    let text = view.text.replace(['«', '»'], "");
    let problems = plan_all(&[ViewFile { text: text.clone(), ..view }]).expect_err(&text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problem = &problems[0];
    assert!(problem.message.contains(message), "`{}` does not say `{message}`", problem.message);
    let shown = problem.to_string();
    assert!(shown.contains(help), "{shown}\ndoes not say `{help}`");
    if let Some((line, column)) = place {
        let place = Place { file: FILE.to_owned(), line: Some(line), column: Some(column) };
        assert_eq!(problem.place, Some(place), "{shown}");
    }
}

#[test]
fn what_cannot_be_run_is_refused_before_there_are_events() {
    let conflicting = "nth_value(amount, 2 ORDER BY event_time) AS a, nth_value(mcc, 2 ORDER BY amount) AS b";
    let message = "cannot be planned: Conflicting ordering requirements";
    let hint = "compute them in several SELECTs";
    check_refused(
        &format!(
            "SELECT card_id, «{conflicting} FROM (
               SELECT *, row_number() OVER (PARTITION BY card_id ORDER BY event_time, _offset) AS r
               FROM transactions WHERE event_time > now() - INTERVAL '5 minutes')
             WHERE r < 5 GROUP BY card_id"
        ),
        message,
        hint,
    );
    // The second level of aggregates is no matter of tiles.
    check_refused(
        "SELECT card_id, «nth_value(n, 2 ORDER BY mcc) AS a, nth_value(n, 3 ORDER BY n) AS b FROM (
           SELECT card_id, mcc, count(*) AS n FROM transactions
           WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY card_id, mcc) GROUP BY card_id",
        message,
        hint,
    );
    let tiled = plan(&format!(
        "SELECT card_id, {conflicting} FROM transactions
         WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY card_id"
    ));
    assert!(tiled.tiling.is_ok());
    assert!(tiled.plain.unwrap_err().contains("Conflicting ordering requirements"));
}

#[test]
fn expressions_with_one_name_are_told_apart_by_the_user() {
    check_refused(
        "SELECT card_id, min(amount) AS a, min(CAST(amount AS BIGINT)) AS b FROM transactions
         WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY card_id",
        "has two expressions with one name: `min(transactions.amount)`",
        "a CAST is no part of a name",
    );
}

#[test]
fn a_view_that_nothing_bounds_is_refused() {
    let nothing = "nothing bounds which events of stream `transactions` must be kept";
    let hint = "a FILTER bounds only its aggregate";
    check_refused("SELECT card_id, count(*) AS n FROM «transactions» GROUP BY card_id", nothing, hint);
    check_refused(
        "SELECT card_id, count(*) FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS n
         FROM «transactions» GROUP BY card_id",
        nothing,
        hint,
    );
    for condition in [
        "now() - event_time < INTERVAL '5 minutes'",
        "processing_time > now() - INTERVAL '5 minutes'",
        "event_time < now() - INTERVAL '5 minutes'",
        "event_time > now() - INTERVAL '5 minutes' OR amount > 1000",
        "event_time > TIMESTAMP '2025-01-01T00:00:00'",
        "NOT (event_time < TIMESTAMP '2025-01-01T00:00:00')",
    ] {
        check_refused(&counting(condition), nothing, hint);
    }
    check_refused(
        "SELECT t.card_id AS card_id, count(*) AS n FROM transactions AS t JOIN «clicks» AS c ON c.user_id = t.card_id
         WHERE t.event_time > now() - INTERVAL '5 minutes' GROUP BY t.card_id",
        "nothing bounds which events of stream `clicks` must be kept",
        hint,
    );
    check_refused("SELECT 'a' AS card_id", "it reads no stream", "select from a stream");
}

#[test]
fn what_is_no_function_of_its_input_is_refused() {
    let recent = "FROM transactions WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY card_id";
    check_refused(
        &format!("SELECT card_id, sum(amount * «random»()) AS noise {recent}"),
        "the result of `random` is not a function of its input",
        "features must come out the same",
    );
    check_refused(
        &format!("SELECT card_id, max(amount) FILTER (WHERE amount > «$1») AS most {recent}"),
        "has a parameter: `$1`",
        "write the value",
    );
}

#[test]
fn a_view_is_one_select() {
    check_refused(
        "INSERT INTO transactions SELECT * FROM transactions",
        "view `v` is not a SELECT",
        "one SELECT",
    );
    check_refused("EXPLAIN SELECT card_id FROM transactions", "view `v` is not a SELECT", "one SELECT");
    check_refused("DROP TABLE transactions", "view `v` is not a SELECT", "one SELECT");
    let one = counting("event_time > now() - INTERVAL '5 minutes'");
    check_refused(&format!("{one};\n{one}"), "view `v` has 2 statements", "give each its own file");
    check_refused("-- entity: card\n-- key: card_id\n", "view `v` has no SELECT", FILE);
    plan(&format!("{one};\n-- the end\n"));
}

#[test]
fn misspelt_names_are_shown_in_their_place() {
    let recent = "FROM transactions WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY card_id";
    check_refused(
        &format!("SELECT card_id,\n  sum(«amout») AS total\n{recent}"),
        "names a column that stream `transactions` does not have: `amout`",
        "did you mean `amount`?",
    );
    check_refused(
        "SELECT «card», count(*) AS n FROM transactions WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY 1",
        "names a column that stream `transactions` does not have: `card`",
        "did you mean `card_id`?",
    );
    check_refused(
        "SELECT card_id, count(*) AS n\nFROM «transaction»\nGROUP BY card_id",
        "reads a stream that is not configured: `transaction`",
        "did you mean `transactions`?",
    );
    check_refused(
        &format!("SELECT card_id,\n  «summ»(amount) AS total\n{recent}"),
        "calls a function that is not known: `summ`",
        "did you mean `sum`?",
    );
}

#[test]
fn errors_of_syntax_are_shown_in_their_place() {
    let not_sql = "view `v` is not valid SQL";
    check_refused("«SELEC» card_id FROM transactions", not_sql, "SELEC");
    check_refused("SELECT card_id,\n  count(* «AS» n FROM transactions", not_sql, "found: AS");
    check_refused(
        "SELECT card_id, count(*) AS n FROM transactions\n  «GROUP» card_id",
        not_sql,
        "found: GROUP",
    );
}

/// Planned, twenty thousand operators would need more stack than there is.
#[test]
fn what_goes_too_deep_is_refused_before_it_is_parsed() {
    let recent = "FROM transactions WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY card_id";
    let sum = |operators: usize| format!("1{}", "+1".repeat(operators));
    for operators in [300, 20_000] {
        check_refused(
            &format!("SELECT card_id, max(amount) * ({}) AS most {recent}", sum(operators)),
            "view `v` goes too deep: it has an expression of more than 256 operators",
            "split it over several columns",
        );
    }
    plan(&format!("SELECT card_id, max(amount) * ({}) AS most {recent}", sum(200)));
    // As many beside each other are no harm.
    let column = |number: u32| format!("max(amount) + {number} AS most_{number}");
    let columns: Vec<String> = (0..300).map(column).collect();
    plan(&format!("SELECT card_id, {} {recent}", columns.join(", ")));
}

#[test]
fn what_is_too_long_is_refused_before_it_is_read() {
    let view = counting("event_time > now() - INTERVAL '5 minutes'");
    plan(&format!("{view} -- {}", "x".repeat(250 << 10)));
    check_refused(
        &format!("{view} -- {}", "x".repeat(256 << 10)),
        "at most 262144 are read",
        "make several views of it",
    );
}

#[test]
fn names_that_are_ours_are_refused() {
    check_refused(
        "SELECT card_id, count(*) AS «_n» FROM transactions
         WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY card_id",
        "has an output column that begins with `_`: `_n`",
        "give the column another name with AS",
    );
}

#[test]
fn the_key_is_an_output_column() {
    let text = "-- entity: card\n-- key: card\nSELECT card_id, count(*) AS n FROM transactions
        WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY card_id";
    let problems = try_plan(text).unwrap_err();
    assert_eq!(problems[0].message, "the key of view `v` is not one of its output columns: `card`");
    assert_eq!(problems[0].place, Some(Place { file: FILE.to_owned(), line: Some(2), column: None }));
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `card_id`?"));
}

#[test]
fn everything_wrong_with_all_views_is_said_at_once() {
    let wrong = "-- key: card_id\n-- ttl: 1m\nSELECT card_id FROM nowhere";
    let problems = plan_all(&[file("a", wrong), file("b", "SELECT 1 AS card_id")]).unwrap_err();
    let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "the header does not say `entity`",
            "view `a` reads a stream that is not configured: `nowhere`",
            "view `b` is refused: it reads no stream",
        ]
    );
}

#[test]
fn two_views_have_two_names() {
    let one = counting("event_time > now() - INTERVAL '5 minutes'");
    let named = format!("-- view: a\n{HEADER}{one}");
    let problems = plan_all(&[file("a", &one), file("b", &named)]).unwrap_err();
    assert_eq!(problems[0].message, "two views are named `a`: sql/a.sql and sql/b.sql");
    assert_eq!(problems[0].place, Some(Place { file: "sql/b.sql".to_owned(), line: Some(1), column: None }));
    assert_eq!(plan_all(&[file("a", &one), file("b", &one)]).unwrap().len(), 2);
}

#[test]
fn features_live_as_long_as_the_longest_window_or_longer() {
    let day = counting("event_time > now() - INTERVAL '24 hours'");
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    assert_eq!(plan(&day).ttl, hours(24));
    assert_eq!(plan(&format!("{HEADER}-- ttl: 24h\n{day}")).ttl, hours(24));
    assert_eq!(plan(&format!("{HEADER}-- ttl: 36h\n{day}")).ttl, hours(36));
    check_refused(
        &format!("{HEADER}-- ttl: 23h\n{day}"),
        "a ttl of 23h, shorter than its longest window of 24h",
        "write `-- ttl: 24h` or longer",
    );
}
