//! The rules of the house that a compiler does not know: who may import whom,
//! who may know which crate, who may read a clock, and what a file looks like.
//!
//! Tests within `src` are left out: they may look wherever they like.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A layer: its modules, and the layers that they may import beside their own.
/// A module belongs where the longest of these paths that it begins with stands.
struct Layer {
    name: &'static str,
    modules: &'static [&'static str],
    may_import: &'static [&'static str],
}

static LAYERS: [Layer; 6] = [
    Layer { name: "vocabulary", modules: &["error", "time", "frame"], may_import: &[] },
    Layer {
        name: "core",
        modules: &[
            "decode",
            "clock",
            "state",
            "view",
            "evaluate",
            "generate",
            // Shipped schemas are text, and what a schema is may be known.
            "schema::shipped",
            // What a sink is, what is written and how long to wait; not the clients.
            "sink",
        ],
        may_import: &["vocabulary"],
    },
    Layer {
        name: "edges",
        modules: &[
            "checkpoint",
            "source",
            "schema",
            "sink::redis",
            "sink::dead_letter",
            "sink::memory",
            "sink::parquet",
            "telemetry",
        ],
        may_import: &["vocabulary", "core"],
    },
    Layer { name: "pipeline", modules: &["pipeline"], may_import: &["vocabulary", "core", "edges"] },
    Layer { name: "config", modules: &["config"], may_import: &["vocabulary", "core", "edges"] },
    Layer {
        name: "cli",
        modules: &["cli"],
        may_import: &["vocabulary", "core", "edges", "pipeline", "config"],
    },
];

/// Edges that the loop must not know: it is given what they share, a trait.
const CONCRETE: [&str; 9] = [
    "sink::redis",
    "sink::parquet",
    "sink::dead_letter::KafkaDeadLetters",
    "sink::dead_letter::FileDeadLetters",
    "source::kafka",
    "source::range",
    "schema::Registry",
    "schema::Directory",
    "telemetry::http",
];

/// Crates that only these modules may know.
const CRATES: [(&str, &[&str]); 7] = [
    ("rdkafka", &["source", "sink::dead_letter::kafka", "cli"]),
    ("redis", &["sink::redis"]),
    ("parquet", &["sink::parquet"]),
    ("object_store", &["checkpoint::store"]),
    ("clap", &["config", "cli"]),
    ("arrow_avro", &["decode::avro"]),
    ("anyhow", &["cli"]),
];

/// What the vocabulary and the core must not have in them: I/O, threads, clocks.
const EFFECTS: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "thread::spawn",
    "Instant::now",
    "tokio::spawn",
    "block_on",
];

/// More than this, and a file has two subjects.
const MOST_LINES: usize = 500;

/// A file of `src`.
struct Source {
    /// Below `src`, as messages name it.
    path: String,
    /// `sink::redis::connect`; nothing for the crate's roots.
    module: Vec<String>,
    text: String,
}

impl Source {
    /// The code without comments and without the tests at the end.
    fn code(&self) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod tests {")
        });
        let code = lines[..tests.unwrap_or(lines.len())].iter().map(|line| line.split("//").next());
        code.map(Option::unwrap_or_default).collect::<Vec<_>>().join("\n")
    }

    fn is_test(&self) -> bool {
        self.module.last().is_some_and(|name| name == "tests")
    }

    fn module(&self) -> String {
        self.module.join("::")
    }
}

/// Every file of `src` that is compiled.
fn sources() -> Vec<Source> {
    let root = Path::new("src");
    let mut paths = Vec::new();
    collect(root, &mut paths);
    paths.sort();
    assert!(paths.len() > 50, "these are not all: {paths:?}");
    paths
        .into_iter()
        .map(|path| {
            let below = path.strip_prefix(root).expect("it was found there");
            let mut module: Vec<String> =
                below.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if module.last().is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str())) {
                module.pop();
            }
            let text = fs::read_to_string(&path).expect("it can be read");
            Source { path: format!("src/{}", below.display()), module, text }
        })
        .collect()
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("it can be listed").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|suffix| suffix == "rs") {
            found.push(path);
        }
    }
}

/// Whether a path is at or below a module.
fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The layer of a path such as `sink::redis::Mode`.
fn layer_of(path: &str) -> Option<&'static Layer> {
    let modules = LAYERS.iter().flat_map(|layer| layer.modules.iter().map(move |module| (layer, *module)));
    modules
        .filter(|(_, module)| is_within(path, module))
        .max_by_key(|(_, module)| module.len())
        .map(|(layer, _)| layer)
}

const fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Our own modules and items that code names, by `crate::` or `super::`, as
/// paths from the crate's root.
fn imports(source: &Source) -> BTreeSet<String> {
    let code = source.code();
    let mut found = BTreeSet::new();
    for (start, word) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let before = code[..start].chars().next_back();
        // `$crate`, `my_crate::`, and the second of `super::super::`.
        if before.is_some_and(|before| is_word(before) || before == '$' || before == ':') {
            continue;
        }
        let mut path = Vec::new();
        let mut rest = &code[start..];
        if word == "crate::" {
            rest = &rest["crate::".len()..];
        } else {
            path.clone_from(&source.module);
            while let Some(above) = rest.strip_prefix("super::") {
                path.pop();
                rest = above;
            }
        }
        expand(rest, &path, &mut found);
    }
    found
}

/// Reads one tree of a `use`, or a path in code; returns what follows it.
fn expand<'a>(text: &'a str, prefix: &[String], found: &mut BTreeSet<String>) -> &'a str {
    let mut path = prefix.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            return expand_group(group, &path, found);
        }
        let end = rest.find(|character: char| !is_word(character)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        rest = behind;
        if word.is_empty() {
            rest = rest.strip_prefix('*').unwrap_or(rest);
            break;
        }
        if word != "self" {
            path.push(word.to_owned());
        }
        match rest.strip_prefix("::") {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    found.insert(path.join("::"));
    rest
}

fn expand_group<'a>(group: &'a str, path: &[String], found: &mut BTreeSet<String>) -> &'a str {
    let mut rest = group;
    loop {
        rest = expand(rest, path, found).trim_start();
        // `as name`, if there is one, is no path.
        let end = rest.find([',', '}']).unwrap_or(rest.len());
        rest = &rest[end..];
        if let Some(behind) = rest.strip_prefix('}') {
            return behind;
        }
        rest = match rest.strip_prefix(',') {
            Some(behind) => behind.trim_start(),
            None => return rest,
        };
        if let Some(behind) = rest.strip_prefix('}') {
            return behind;
        }
    }
}

/// Whether code names a crate: not as a part of a longer path of ours.
fn knows_crate(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(start, _)| {
        let before = &code[..start];
        match before.strip_suffix("::") {
            Some(parent) => !parent.chars().next_back().is_some_and(is_word),
            None => !before.chars().next_back().is_some_and(is_word),
        }
    })
}

#[track_caller]
fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn lower_layers_never_import_higher_ones() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !source.module.is_empty() && !source.is_test()) {
        let Some(own) = layer_of(&source.module()) else {
            breaches.push(format!("{}: it is in no layer; say in which one it is", source.path));
            continue;
        };
        for import in imports(source) {
            let Some(other) = layer_of(&import) else { continue };
            if other.name != own.name && !own.may_import.contains(&other.name) {
                breaches.push(format!("{} ({}) imports {import} ({})", source.path, own.name, other.name));
            }
        }
    }
    assert_none(&breaches);
}

#[test]
fn layers_are_of_modules_that_there_are() {
    let modules: Vec<String> = sources().iter().map(Source::module).collect();
    let gone: Vec<String> = LAYERS
        .iter()
        .flat_map(|layer| layer.modules)
        .filter(|named| !modules.iter().any(|module| is_within(module, named)))
        .map(|named| format!("a layer names {named}, and there is no such module"))
        .collect();
    assert_none(&gone);
}

#[test]
fn the_loop_knows_no_concrete_edge() {
    let sources = sources();
    let breaches: Vec<String> = sources
        .iter()
        .filter(|source| is_within(&source.module(), "pipeline") && !source.is_test())
        .flat_map(|source| imports(source).into_iter().map(|import| (source.path.clone(), import)))
        .filter(|(_, import)| CONCRETE.iter().any(|concrete| is_within(import, concrete)))
        .map(|(path, import)| format!("{path} knows {import}"))
        .collect();
    assert_none(&breaches);
}

#[test]
fn foreign_crates_are_known_where_they_belong() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let (module, code) = (source.module(), source.code());
        for (name, modules) in CRATES {
            let may = modules.iter().any(|known| is_within(&module, known));
            if !may && knows_crate(&code, name) {
                breaches.push(format!("{} knows {name}, which is for {modules:?}", source.path));
            }
        }
    }
    assert_none(&breaches);
}

#[test]
fn the_core_has_no_effects() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let layer = layer_of(&source.module()).map_or("", |layer| layer.name);
        if ["vocabulary", "core"].contains(&layer) {
            let code = source.code();
            let found = EFFECTS.iter().filter(|effect| code.contains(**effect));
            breaches.extend(found.map(|effect| format!("{}: {effect}", source.path)));
        }
    }
    assert_none(&breaches);
}

#[test]
fn only_one_file_reads_the_wall_clock() {
    let reads = |source: &&Source| {
        let code = source.code();
        ["SystemTime::now", "Utc::now", "Local::now"].iter().any(|call| code.contains(call))
    };
    let sources = sources();
    let readers: Vec<&str> = sources.iter().filter(reads).map(|source| source.path.as_str()).collect();
    assert_eq!(readers, ["src/time.rs"]);
}

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    let mut breaches = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//!") {
            breaches.push(format!("{}: it does not begin with `//!`", source.path));
        }
        let lines = source.text.lines().count();
        if lines > MOST_LINES {
            breaches.push(format!("{}: {lines} lines, at most {MOST_LINES}", source.path));
        }
    }
    assert_none(&breaches);
}

/// Two of them would be two types of the same name.
#[test]
fn there_is_one_arrow() {
    let lock = fs::read_to_string("Cargo.lock").expect("Cargo.lock is there");
    for name in ["arrow-array", "arrow-schema", "datafusion"] {
        let line = format!("name = \"{name}\"");
        assert_eq!(lock.lines().filter(|known| *known == line).count(), 1, "{name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(module: &str, text: &str, expected: &[&str]) {
        let module = module.split("::").map(str::to_owned).collect();
        let source = Source { path: String::new(), module, text: text.to_owned() };
        assert_eq!(imports(&source).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn imports_are_found_in_every_form() {
        check("a::b", "use crate::time::{Clock, Span as S, *};", &["time", "time::Clock", "time::Span"]);
        check("a::b", "use crate::{a::x, c::{self, d}};", &["a::x", "c", "c::d"]);
        check("a::b", "use super::c; use super::super::d::E;", &["a::c", "d::E"]);
        check("a", "fn f(x: &crate::frame::Frame<'_>) { my_crate::g(); }", &["frame::Frame"]);
        let with_tests = "// use crate::no;\nuse crate::yes;\n#[cfg(test)]\nmod tests {\n use crate::no;\n}";
        check("a", with_tests, &["yes"]);
    }

    #[test]
    fn crates_are_told_from_modules() {
        assert!(knows_crate("use ::redis::Value;", "redis"));
        assert!(knows_crate("use redis::Value;", "redis"));
        assert!(!knows_crate("use crate::sink::redis::Mode; use super::redis::X;", "redis"));
        assert!(!knows_crate("my_redis::x()", "redis"));
    }

    #[test]
    fn the_longest_path_gives_the_layer() {
        let name = |path: &str| layer_of(path).map(|layer| layer.name);
        assert_eq!(name("sink::encode::Bound"), Some("core"));
        assert_eq!(name("sink::redis::Mode"), Some("edges"));
        assert_eq!(name("sinks"), None);
    }
}
