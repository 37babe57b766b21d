//! The view files of a job, read and planned.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Place, Problem};
use crate::frame::StreamId;
use crate::view::header;
use crate::view::plan::{Planner, ViewFile, too_large};
use crate::view::{FeatureView, Streams};

/// The views that the binary carries.
const SHIPPED_VIEWS: [(&str, &str); 4] = [
    ("clickstream", include_str!("../../../sql/clickstream.sql")),
    ("device", include_str!("../../../sql/device.sql")),
    ("transaction", include_str!("../../../sql/transaction.sql")),
    ("transaction_pattern", include_str!("../../../sql/transaction_pattern.sql")),
];

/// The files of a SQL directory; what cannot be read is a problem.
pub(super) fn view_files(directory: &Path, shipped: bool, problems: &mut Vec<Problem>) -> Vec<ViewFile> {
    let place = || Place::file(directory.display().to_string());
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && shipped => {
            return SHIPPED_VIEWS
                .iter()
                .map(|(stem, text)| ViewFile {
                    path: format!("sql/{stem}.sql"),
                    stem: (*stem).to_owned(),
                    text: (*text).to_owned(),
                })
                .collect();
        }
        Err(error) => {
            problems.push(
                Problem::new(format!("the SQL directory could not be read: {error}"))
                    .at(place())
                    .hint("name the directory of the feature views with `--sql-dir`"),
            );
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "sql"))
        .collect();
    paths.sort();
    if paths.is_empty() {
        problems.push(
            Problem::new("there is no feature view")
                .at(place())
                .hint("write one as a file `<name>.sql` there; README.md shows one"),
        );
    }
    read_views(paths, problems)
}

/// View files at these paths.
pub(super) fn read_views(paths: Vec<PathBuf>, problems: &mut Vec<Problem>) -> Vec<ViewFile> {
    let mut files = Vec::new();
    for path in paths {
        let bytes = std::fs::metadata(&path).map_or(0, |about| about.len());
        if let Some(problem) = too_large(&path.display().to_string(), bytes) {
            problems.push(problem);
            continue;
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => files.push(ViewFile {
                path: path.display().to_string(),
                stem: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                text,
            }),
            Err(error) => problems.push(
                Problem::new(format!("the view could not be read: {error}"))
                    .at(Place::file(path.display().to_string())),
            ),
        }
    }
    files
}

/// What a view is called, as far as its header can be read.
fn name(file: &ViewFile) -> String {
    header::parse(&file.path, &file.stem, &file.text).map_or_else(|_| file.stem.clone(), |header| header.view)
}

/// The files of the views that are wanted: what is wrong with others does not matter.
pub(super) fn only_wanted(
    files: Vec<ViewFile>,
    wanted: Option<&[String]>,
    problems: &mut Vec<Problem>,
) -> Vec<ViewFile> {
    // Where there are no files at all, that has been told.
    let Some(wanted) = wanted.filter(|_| !files.is_empty()) else { return files };
    let named: Vec<(String, ViewFile)> = files.into_iter().map(|file| (name(&file), file)).collect();
    for view in wanted {
        if !named.iter().any(|(name, _)| name == view) {
            let names = named.iter().map(|(name, _)| name.clone());
            problems.push(Problem::new(format!("there is no view `{view}`")).valid("views", view, names));
        }
    }
    named.into_iter().filter(|(name, _)| wanted.contains(name)).map(|(_, file)| file).collect()
}

/// Plans the views; those that read a stream whose schema is not at hand are left out,
/// and those in which something is wrong.
pub(super) fn plan_views(
    streams: &Streams,
    known: &[StreamId],
    unchecked: &BTreeSet<String>,
    files: &[ViewFile],
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<FeatureView>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let planner = Planner::new(streams);
    // A stream whose schema is wrong has been reported; its views would only repeat that.
    let broken: Vec<&str> = streams
        .iter()
        .filter(|stream| !streams.id(&stream.name).is_some_and(|id| known.contains(&id)))
        .map(|stream| stream.name.as_str())
        .collect();
    let reads_broken = |file: &ViewFile| {
        broken.iter().any(|name| crate::view::problems::find_word(&file.text, name).is_some())
    };
    let (left_out, plannable): (Vec<ViewFile>, Vec<ViewFile>) = files.iter().cloned().partition(reads_broken);
    for file in &left_out {
        if unchecked.iter().any(|name| crate::view::problems::find_word(&file.text, name).is_some()) {
            tracing::warn!("{} was not checked: its schema is in the registry", file.path);
        }
    }
    let (views, found) = runtime.block_on(planner.plan_each(&plannable));
    problems.extend(found);
    Ok(views)
}
