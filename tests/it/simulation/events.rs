//! Logs that a seed decides: disorder, late events, duplicates, gaps, poison,
//! missing values, and few keys that have most of the events.

use crate::chaos::dice::Dice;
use crate::worker::log::{Kind, POISONS, Step};

/// So many cards; one of them has about half of the events.
const CARDS: u64 = 6;

/// A log of at least 16 and less than 64 steps.
pub fn steps(dice: &mut Dice) -> Vec<Step> {
    let favourite = small(dice.below(CARDS));
    let count = dice.between(16..64);
    (0..count).map(|_| step(dice, favourite)).collect()
}

fn step(dice: &mut Dice, favourite: u8) -> Step {
    let after_ms = match dice.below(45) {
        // On the very edge of windows.
        0..20 => dice.stretch(0, 16) * 250,
        20..30 => dice.stretch(0, 4_000),
        30..38 => dice.stretch(4_000, 90_000),
        38..41 => dice.stretch(1, 31) * 60_000,
        41..44 => dice.stretch(90_000, 1_800_000),
        _ => dice.stretch(1_800_000, 300_000_000),
    };
    let gap = if dice.below(20) == 0 { dice.stretch(1, 50) } else { 0 };
    let card = if dice.below(3) == 0 { favourite } else { small(dice.below(CARDS)) };
    let quarters = i32::from(u16::try_from(dice.between(400..4_000)).unwrap());
    let device = (dice.below(4) > 0).then(|| small(dice.below(3)));
    Step { after_ms, gap, card, quarters, device, kind: kind(dice) }
}

fn kind(dice: &mut Dice) -> Kind {
    match dice.below(48) {
        0..20 => Kind::V1 { behind_ms: behind_ms(dice) },
        20..40 => Kind::V2 { behind_ms: behind_ms(dice), place: small(dice.below(3)) },
        40 => Kind::NoTime,
        41..44 => Kind::Again,
        44 => Kind::Tombstone,
        _ => Kind::Poison(small(dice.below(u64::from(POISONS)))),
    }
}

/// In order, on time, late, around the last moment, too late, ahead and too far ahead.
fn behind_ms(dice: &mut Dice) -> i64 {
    match dice.below(40) {
        0..20 => 0,
        20..28 => dice.stretch(0, 5_000),
        28..34 => dice.stretch(5_000, 65_000),
        34..36 => dice.stretch(64_998, 65_003),
        36..38 => dice.stretch(65_000, 400_000),
        38 => dice.stretch(-300_002, -299_998),
        _ => dice.stretch(-310_000, 0),
    }
}

fn small(number: u64) -> u8 {
    u8::try_from(number).expect("it is a small one")
}
