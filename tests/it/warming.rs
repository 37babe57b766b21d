//! Windows that became longer are right at once, and windows of which the topic
//! lacks events say so until they do not reach back to them any more.

use crate::oracle::{MINUTE, SECOND};
use crate::payments::{
    NOON, Payment, SPENDING, STEP, Setting, assert_spending, compare, hashes, payments, spending,
};
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, eventually};

const WARMING: &str = r#"stream_warming_seconds{view="spending"}"#;

/// The view `spending` with another window instead of its day.
fn spending_over(window: &str) -> String {
    SPENDING.replace("24 hours", window)
}

/// Runs until it has caught up, in small batches, and gives what it said: what
/// is kept of the log, and so what is read again, begins where a batch did.
#[track_caller]
fn catch_up(setting: &Setting) -> String {
    let output =
        setting.windrow(&["run", "--until-caught-up", "--max-batch-events", "10"]).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    output.stderr
}

/// The cards whose hashes say that events are missing, and how many do not.
#[track_caller]
fn marked(redis: &RedisServer, view: &str) -> (usize, usize) {
    let hashes = hashes(redis, "card", view);
    let marked = hashes.values().filter(|hash| hash.get("_warming").is_some_and(|mark| mark == "true"));
    let marked = marked.count();
    (marked, hashes.len() - marked)
}

/// Nothing new is produced: what counts stands before the committed offset, and
/// far before what the shorter windows held.
#[test]
fn a_window_that_became_longer_is_right_at_once() {
    let redis = RedisServer::start();
    let setting = Setting::new("longer", 2, &redis).view("spending", &spending_over("11 minutes"));
    let all = payments(0..300, 2);
    setting.produce(&all);
    catch_up(&setting);
    let setting = setting.view("spending", SPENDING);
    let said = catch_up(&setting);
    assert!(said.contains("windows reach further back than what was committed"), "{said}");
    assert_spending(&redis, &all);
    assert_eq!(marked(&redis, "spending"), (0, 6));
    // From here on it is committed.
    let said = catch_up(&setting);
    assert!(!said.contains("windows reach further back"), "{said}");
    assert_spending(&redis, &all);
}

/// Only what the windows hold is read, not all of the topic.
#[test]
fn a_longer_window_is_read_from_where_it_begins() {
    let redis = RedisServer::start();
    let setting = Setting::new("bounded", 1, &redis).view("spending", &spending_over("11 minutes"));
    let all = payments(0..300, 1);
    setting.produce(&all);
    catch_up(&setting);
    let setting = setting.view("spending", &spending_over("30 minutes"));
    let said = catch_up(&setting);
    // Number 299 is at 5980 s. Thirty minutes, and the slack of 365 s, begin at 3815 s: number 191.
    let line = said.lines().find(|line| line.contains("windows reach further back"));
    assert!(line.is_some_and(|line| line.contains("read_from=191")), "{said}");
    let edge = all[299].time_ms - 30 * MINUTE;
    let held: Vec<Payment> = all.into_iter().filter(|payment| payment.time_ms > edge).collect();
    assert_spending(&redis, &held);
    assert_eq!(marked(&redis, "spending"), (0, 3));
}

/// Every entity inside the windows has a hash, though nothing came for any of them.
#[test]
fn a_new_view_has_its_hashes_at_once() {
    let redis = RedisServer::start();
    let setting = Setting::new("beside", 2, &redis).view("spending", &spending_over("11 minutes"));
    let all = payments(0..200, 2);
    setting.produce(&all);
    catch_up(&setting);
    let setting = setting.view("again", SPENDING);
    catch_up(&setting);
    if let Err(message) = compare(&redis, "card", "again", &spending(&all)) {
        panic!("the new view's hashes are not exact:\n{message}");
    }
}

/// Number 30 is the first that is left: all is known since 605 s, and windows of
/// eleven minutes are complete at 1265 s.
#[test]
fn windows_that_lack_events_say_so_until_they_are_complete() {
    let redis = RedisServer::start();
    let setting = Setting::new("warming", 1, &redis).view("spending", &spending_over("11 minutes"));
    let all = payments(0..120, 1);
    setting.produce(&all[..60]);
    setting.client().delete_records(&setting.topic, 0, 30);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let all_are_marked = || {
        eventually(PATIENCE, "every hash says that events are missing", || {
            match marked(&redis, "spending") {
                (3, 0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    };
    all_are_marked();
    running
        .wait_for_line("windows complete: of 10m at 2025-03-01T12:20:05.000Z, of 11m at 2025-03-01T12:21:05");
    setting.eventually_committed();
    // Number 59 is at 1180 s.
    let left = setting.eventually_at_least(WARMING, 1.0);
    assert!((84.5..85.5).contains(&left), "{left}");
    assert_eq!(running.terminate().status.code(), Some(0));

    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&all[60..63]);
    setting.eventually_committed();
    setting.eventually_at_least(WARMING, 1.0);
    all_are_marked();
    setting.produce(&all[63..]);
    let edge = NOON + 119 * STEP - 660 * SECOND;
    let held: Vec<Payment> = all.iter().filter(|payment| payment.time_ms > edge).cloned().collect();
    setting.eventually_exact(&redis, &held);
    eventually(PATIENCE, "no hash says so any more", || match marked(&redis, "spending") {
        (0, 3) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    running.wait_for_line("windows are complete");
    setting.eventually_at_most(WARMING, 0.0);
    setting.eventually_committed();
    assert_eq!(running.terminate().status.code(), Some(0));
}
