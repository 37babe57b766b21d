//! `memory_limit`: what is read ahead stays within it however long Redis is
//! away, and a state that does not fit ends the process with what to do.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use crate::payments::{NOON, Payment, Setting, compare, spending};
use crate::support::process::Running;
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, eventually};

const RESIDENT: &str = "process_resident_memory_bytes";
const FOR_MEMORY: &str = r#"stream_reading_paused{reason="memory"}"#;
const MIB: u64 = 1 << 20;

/// By how much the limit may be exceeded: one batch decoded and its commands,
/// which is read before memory is looked at again.
const MARGIN: u64 = 32 * MIB;

/// What a run takes that has read nothing yet.
#[track_caller]
fn resident_at_start(setting: &Setting) -> u64 {
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let resident = resident(setting);
    assert_eq!(running.terminate().status.code(), Some(0));
    resident
}

#[track_caller]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole bytes, far below 2^53")]
fn resident(setting: &Setting) -> u64 {
    setting.eventually_at_least(RESIDENT, 1.0) as u64
}

#[track_caller]
fn begin(setting: &Setting, limit: u64) -> Running {
    let limit = limit.to_string();
    let mut running = setting.windrow(&["run", "--memory-limit", &limit]).spawn();
    running.wait_ready(&setting.metrics);
    running
}

/// Payments of this card each, with so long a merchant that they take memory.
fn wide(numbers: Range<i64>) -> Vec<Payment> {
    let merchant = "m".repeat(4096);
    let payment = |number: i64| Payment {
        merchant: merchant.clone(),
        ..Payment::new(&format!("card-{}", number % 3), number, None, NOON + number * 10)
    };
    numbers.map(payment).collect()
}

#[test]
fn memory_stays_within_its_limit_while_redis_is_away() {
    let mut redis = RedisServer::start();
    let setting = Setting::new("bounded", 1, &redis).kafka_option(r#""max.poll.interval.ms" = "8000""#);
    let limit = resident_at_start(&setting) + 100 * MIB;
    let mut running = begin(&setting, limit);
    let mut all = wide(0..1000);
    setting.produce(&all);
    setting.eventually_exact(&redis, &all);

    redis.stop();
    setting.eventually_readyz(503);
    // Some 160 MiB, of which more than the limit would be read ahead without one.
    let mut most = 0;
    for part in 0..8 {
        let more = wide(1000 + part * 5000..1000 + (part + 1) * 5000);
        setting.produce(&more);
        all.extend(more);
        most = most.max(resident(&setting));
    }
    running.wait_for_line("reading is paused");
    let begun = Instant::now();
    // Longer than a consumer may stay away from its group here.
    while begun.elapsed() < Duration::from_secs(10) {
        most = most.max(resident(&setting));
        thread::sleep(Duration::from_millis(50));
    }
    redis.start_again();
    let expected = spending(&all);
    eventually(PATIENCE, "everything is written", || {
        most = most.max(resident(&setting));
        compare(&redis, "card", "spending", &expected)
    });
    setting.eventually_committed();
    assert!(most <= limit + MARGIN, "{} MiB of {} MiB", most / MIB, limit / MIB);
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert!(!output.stderr.contains("partition given up"), "it left its group:\n{}", output.stderr);
}

/// Every payment is another card's, with a name that takes memory, too.
#[test]
fn a_state_that_does_not_fit_ends_it_and_says_what_holds_it() {
    let redis = RedisServer::start();
    let setting = Setting::new("too-much", 1, &redis);
    let limit = resident_at_start(&setting) + 48 * MIB;
    let running = begin(&setting, limit);
    for part in 0..20 {
        let cards = part * 10_000..(part + 1) * 10_000;
        let payment = |number: i64| Payment::new(&format!("{number:0>200}"), number, None, NOON + number);
        setting.produce(&cards.map(payment).collect::<Vec<_>>());
    }
    let output = running.wait(2 * PATIENCE);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    for part in [
        "reading is paused: the process takes as much memory as `memory_limit` lets it",
        "error: what is kept does not fit into `memory_limit`, ",
        ", view `spending` holds ",
        "hint: raise `memory_limit`, shorten the windows",
    ] {
        assert!(output.stderr.contains(part), "no `{part}` in\n{}", output.stderr);
    }
}

#[test]
fn a_run_that_fits_is_not_paused() {
    let redis = RedisServer::start();
    let setting = Setting::new("fits", 1, &redis);
    let mut running = begin(&setting, 4 << 30);
    let all = wide(0..200);
    setting.produce(&all);
    setting.eventually_exact(&redis, &all);
    assert!(running.metrics(&setting.metrics).contains(&format!("{FOR_MEMORY} 0")));
    assert!(!running.has_ended());
    assert_eq!(running.terminate().status.code(), Some(0));
}
