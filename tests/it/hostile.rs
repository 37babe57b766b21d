//! Input that means harm: the bodies of the fuzz targets over their corpus and
//! some thousands of inputs made of it, the same ones every time. `make fuzz`
//! goes on where this ends.
//!
//! A failure names the input, which is left in a file for the target of that name.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use windrow::schema::shipped::TRANSACTIONS_V2;

/// What one input may take on a busy machine; most take far less than a millisecond.
const SLOWEST: Duration = Duration::from_secs(10);

/// What an event may take that is meant to take long, with the making of its decoder. Without a
/// limit, it takes several seconds.
const SLOWEST_EVENT: Duration = Duration::from_secs(1);

/// The main thread's stack, on which configuration and views are read in a run.
const STACK_BYTES: usize = 8 << 20;

/// Longest input that is made: what is longer costs time and finds no more.
const MOST_BYTES: usize = 16 << 10;

/// What parsers stumble over.
const CHUNKS: [&[u8]; 16] = [
    &[0],
    &[0xFF],
    &[0x7F],
    &[0x80, 0],
    // The largest, the smallest and an endless number of Avro's.
    &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1],
    &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1],
    &[0x80; 12],
    // No UTF-8: a torn character, half of a surrogate pair.
    &[0xC3, 0x28],
    &[0xED, 0xA0, 0x80],
    b"\r\n",
    b"99999999999999999999",
    b"-1",
    b"((((((((",
    b"{\"[",
    b"'--",
    "\u{feff}\u{1D11E}".as_bytes(),
];

/// A sequence of numbers that its seed decides (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0 where there is none.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("a usize fits");
        usize::try_from(self.next() % end).expect("less than a usize")
    }
}

/// An input of the corpus with a few things done to it.
fn mutated(numbers: &mut Numbers, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[numbers.below(corpus.len())].clone();
    input.truncate(MOST_BYTES);
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(input.len() + 1);
        let end = (at + 1 + numbers.below(16)).min(input.len());
        match numbers.below(6) {
            0 if at < input.len() => input[at] ^= 1 << numbers.below(8),
            1 => {
                input.splice(at..at, CHUNKS[numbers.below(CHUNKS.len())].iter().copied());
            }
            2 => {
                input.splice(at..end, CHUNKS[numbers.below(CHUNKS.len())].iter().copied());
            }
            3 => {
                input.drain(at..end);
            }
            4 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            // The rest of another one.
            _ => {
                let other = &corpus[numbers.below(corpus.len())];
                input.truncate(at);
                input.extend_from_slice(&other[numbers.below(other.len() + 1)..]);
                input.truncate(MOST_BYTES);
            }
        }
    }
    input
}

/// What a target begins with: for views also those that are shipped.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let mut files = files_in(&Path::new("fuzz/corpus").join(target));
    if target == "view_header" {
        files.extend(files_in(Path::new("sql")));
    }
    files.iter().map(|file| fs::read(file).expect("the file can be read")).collect()
}

/// The files of a directory, by name.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|file| file.expect("the directory can be read").path())
        .collect();
    files.sort();
    files
}

/// Runs a target over its corpus and over `count` inputs made of it.
fn run(target: &'static str, body: fn(&[u8]), count: usize) {
    let work = move || {
        let corpus = corpus(target);
        assert_ne!(corpus.len(), 0, "{target} has a corpus");
        let mut numbers = Numbers(1);
        let made = (0..count).map(|_| mutated(&mut numbers, &corpus));
        for (number, input) in corpus.iter().cloned().chain(made).enumerate() {
            let begun = Instant::now();
            let ended = catch_unwind(AssertUnwindSafe(|| body(&input)));
            let took = begun.elapsed();
            if ended.is_err() || took > SLOWEST {
                let file = std::env::temp_dir().join(format!("windrow-{target}-{number}"));
                fs::write(&file, &input).expect("writes the input");
                let outcome = if ended.is_err() { "panics" } else { "is slow" };
                let (file, shown) = (file.display(), shown(&input));
                panic!("{target}: input {number} {outcome} ({took:?}): {file}: {shown}");
            }
        }
    };
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(work).expect("starts a thread");
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// The beginning of an input, as Rust would write it.
fn shown(input: &[u8]) -> String {
    let beginning = input.iter().take(200).flat_map(|byte| byte.escape_ascii());
    let mut text: String = beginning.map(char::from).collect();
    if input.len() > 200 {
        let _ = write!(text, "… ({} bytes)", input.len());
    }
    text
}

#[test]
fn framing() {
    run("framing", targets::framing, 4000);
}

#[test]
fn avro_bodies() {
    run("avro_body", targets::avro_body, 4000);
}

#[test]
fn schemas_of_writers() {
    run("writer_schema", targets::writer_schema, 1000);
}

#[test]
fn views() {
    run("view_header", targets::view_header, 600);
}

#[test]
fn configuration() {
    run("config", targets::config, 2000);
}

#[test]
fn packed_commands() {
    run("resp", targets::resp, 10_000);
}

/// An array's first bytes say how many items follow; of items without bytes, a
/// decoder would step through two thousand million before it finds the event's end.
#[test]
fn items_that_take_no_bytes_cost_no_time() {
    for items in [r#""null""#, r#"{"type": "record", "name": "Nothing", "fields": []}"#] {
        let field = format!(r#"{{"name": "nothing", "type": {{"type": "array", "items": {items}}}}},"#);
        let schema = TRANSACTIONS_V2.replacen('[', &format!("[{field}"), 1);
        // The event begins with that array: whoever knows the schema steps into it.
        let begun = Instant::now();
        targets::writer_schema(schema.as_bytes());
        let took = begun.elapsed();
        assert!(took < SLOWEST_EVENT, "{took:?} for {items}");
    }
}

/// Otherwise nothing above would test what it says.
#[test]
fn the_seed_of_every_body_is_a_good_one() {
    assert!(corpus("avro_body").contains(&targets::transaction()), "the corpus has the whole event");
    targets::avro_body(&targets::transaction());
}
