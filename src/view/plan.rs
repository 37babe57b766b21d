//! From a view's text to its plan: parsed, `now()` found and made bindable,
//! optimised once, and what must be kept worked out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError};
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;

use super::classify;
use super::depth;
use super::header::{self, Header};
use super::physical::rehearse;
use super::problems;
pub use super::session::session;
use super::table::StreamTable;
use super::window::{self, Window};
use super::{FeatureView, Scan, Sharding, Streams, keying, lineage, tiling};
use crate::decode::reader::EVENT_TIME;
use crate::error::{Place, Problem};
use crate::time::{Span, duration_text};

/// The most that the file of a view may have, in bytes: some fifty times the longest shipped one.
const MOST_BYTES: u64 = 256 << 10;

/// The problem of a view's file with so many bytes, if they are too many.
pub fn too_large(path: &str, bytes: u64) -> Option<Problem> {
    (bytes > MOST_BYTES).then(|| {
        Problem::new(format!("the view has {bytes} bytes, at most {MOST_BYTES} are read"))
            .at(Place::file(path))
            .hint("make several views of it, each in a file of its own")
    })
}

/// The text of a view, and where it stands.
#[derive(Debug, Clone)]
pub struct ViewFile {
    /// The path, as the user named it.
    pub path: String,
    /// The file's name without `.sql`: the view's name unless its header says another.
    pub stem: String,
    /// Everything in it.
    pub text: String,
}

/// A query with placeholders for `now()`.
struct Planned {
    /// Optimised.
    plan: LogicalPlan,
    /// Optimised as far as that leaves aggregates as they are written, or why it could not be.
    written: Result<LogicalPlan, String>,
    windows: BTreeSet<Window>,
}

/// Plans views over the configured streams.
pub struct Planner<'a> {
    streams: &'a Streams,
    state: SessionState,
    context: SessionContext,
    functions: Vec<String>,
}

impl<'a> Planner<'a> {
    /// A planner that knows these streams as tables.
    pub fn new(streams: &'a Streams) -> Self {
        let context = SessionContext::new_with_state(session());
        for stream in streams.iter() {
            let table = StreamTable::layout(Arc::clone(&stream.table));
            context
                .register_table(
                    datafusion::common::TableReference::bare(stream.name.clone()),
                    Arc::new(table),
                )
                .expect("the session's own catalog takes tables");
        }
        let state = context.state();
        let functions = (state.scalar_functions().keys())
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .cloned()
            .collect();
        Self { streams, state, context, functions }
    }

    /// Plans every view; the names must differ.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub async fn plan_all(&self, files: &[ViewFile]) -> Result<Vec<FeatureView>, Vec<Problem>> {
        let (views, problems) = self.plan_each(files).await;
        if problems.is_empty() { Ok(views) } else { Err(problems) }
    }

    /// Plans every view that can be planned, and says everything that is wrong with the others.
    pub async fn plan_each(&self, files: &[ViewFile]) -> (Vec<FeatureView>, Vec<Problem>) {
        let mut views: Vec<FeatureView> = Vec::new();
        let mut problems = Vec::new();
        for file in files {
            match self.plan(file).await {
                Err(found) => problems.extend(found),
                Ok(view) => {
                    if let Some(other) = views.iter().find(|other| other.name == view.name) {
                        problems.push(
                            Problem::new(format!(
                                "two views are named `{}`: {} and {}",
                                view.name, other.file, view.file
                            ))
                            .at(Place { file: file.path.clone(), line: view.header.lines.view, column: None })
                            .hint("rename one file, or say another name with `-- view: …` in its header"),
                        );
                    } else {
                        views.push(view);
                    }
                }
            }
        }
        (views, problems)
    }

    /// Plans one view.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub async fn plan(&self, file: &ViewFile) -> Result<FeatureView, Vec<Problem>> {
        if let Some(problem) = too_large(&file.path, file.text.len() as u64) {
            return Err(vec![problem]);
        }
        let header = header::parse(&file.path, &file.stem, &file.text);
        let (name, resolution) = header
            .as_ref()
            .map_or((file.stem.as_str(), None), |header| (header.view.as_str(), header.resolution));
        let planned = self.plan_query(name, file, resolution.map(Span::from)).await;
        match (header, planned) {
            (Ok(header), Ok(planned)) => self.rehearsed(file, self.check(file, header, planned)?).await,
            (header, planned) => {
                let mut problems = header.err().unwrap_or_default();
                problems.extend(planned.err());
                Err(problems)
            }
        }
    }

    /// The plan with placeholders for `now()`, and its windows.
    async fn plan_query(
        &self,
        name: &str,
        file: &ViewFile,
        resolution: Option<Span>,
    ) -> Result<Planned, Problem> {
        let problem = |error: DataFusionError| {
            problems::of_error(name, &file.path, &file.text, self.streams, &self.functions, &error)
        };
        let statement = self.only_select(name, file)?;
        let plan = self.state.statement_to_plan(statement).await.map_err(problem)?;
        refuse_unfit(name, file, &plan)?;
        let plan = window::split_between(plan).map_err(problem)?;
        let (plan, windows) = window::extract(&self.state, plan, resolution).map_err(problem)?;
        let analyzed = self
            .state
            .analyzer()
            .execute_and_check(plan, self.state.config_options(), |_, _| {})
            .map_err(problem)?;
        // What cannot be put so is evaluated otherwise; it is not refused.
        let written = tiling::optimize(&self.state, analyzed.clone()).map_err(|error| error.to_string());
        let plan = self.state.optimizer().optimize(analyzed, &self.state, |_, _| {}).map_err(problem)?;
        Ok(Planned { plan, written, windows })
    }

    /// The file's one statement, which must be a query.
    fn only_select(&self, name: &str, file: &ViewFile) -> Result<Statement, Problem> {
        if let Some((at, what)) = depth::too_deep(&file.text) {
            let place = Place { file: file.path.clone(), line: Some(at.line), column: Some(at.column) };
            return Err(Problem::new(format!("view `{name}` goes too deep: it has {what}"))
                .at(place)
                .hint("split it over several columns or views; values are tested together with IN (…)"));
        }
        let options = self.context.state().config().options().sql_parser.clone();
        let parsed = DFParserBuilder::new(file.text.as_str())
            .with_recursion_limit(options.recursion_limit.get())
            .build()
            .and_then(|mut parser| parser.parse_statements())
            .map_err(|error| {
                problems::of_error(name, &file.path, &file.text, self.streams, &self.functions, &error)
            })?;
        let count = parsed.len();
        let mut statements = parsed.into_iter();
        let place = Place::file(&file.path);
        match (statements.next(), count) {
            (None, _) => Err(Problem::new(format!("view `{name}` has no SELECT")).at(place)),
            (Some(Statement::Statement(statement)), 1) if matches!(*statement, SqlStatement::Query(_)) => {
                Ok(Statement::Statement(statement))
            }
            (Some(_), 1) => Err(Problem::new(format!("view `{name}` is not a SELECT"))
                .at(place)
                .hint("a feature view is one SELECT over streams")),
            (Some(_), _) => Err(Problem::new(format!("view `{name}` has {count} statements"))
                .at(place)
                .hint("a feature view is one SELECT; give each its own file")),
        }
    }

    /// What the header and the plan say together.
    fn check(&self, file: &ViewFile, header: Header, planned: Planned) -> Result<FeatureView, Vec<Problem>> {
        let Planned { plan, written, windows } = planned;
        let mut problems = Vec::new();
        let output = Arc::new(Schema::new(plan.schema().fields().clone()));
        let columns: Vec<String> = output.fields().iter().map(|field| field.name().clone()).collect();
        let at = |line: Option<u64>| Place { file: file.path.clone(), line, column: None };
        let mut key = Vec::new();
        for column in &header.key {
            match columns.iter().position(|name| name == column) {
                Some(index) => key.push(index),
                None => problems.push(
                    Problem::new(format!(
                        "the key of view `{}` is not one of its output columns: `{column}`",
                        header.view
                    ))
                    .at(at(header.lines.key))
                    .valid("output columns", column, columns.clone()),
                ),
            }
        }
        for column in columns.iter().filter(|column| column.starts_with('_')) {
            let (line, position) = problems::find_word(&file.text, column).unzip();
            problems.push(
                Problem::new(format!(
                    "view `{}` has an output column that begins with `_`: `{column}`",
                    header.view
                ))
                .at(Place { file: file.path.clone(), line, column: position })
                .hint("fields that begin with `_` are Windrow's own; give the column another name with AS"),
            );
        }
        let scans = match scans_of(&self.state, &header.view, file, &plan) {
            Ok(scans) => scans,
            Err(refused) => {
                problems.extend(refused);
                Vec::new()
            }
        };
        let longest = windows.iter().map(|window| window.span()).max().unwrap_or_default();
        let ttl = header.ttl.unwrap_or_else(|| longest.into());
        if Span::from(ttl) < longest {
            problems.push(
                Problem::new(format!(
                    "view `{}` has a ttl of {}, shorter than its longest window of {longest}: features would expire while they still hold",
                    header.view,
                    duration_text(ttl)
                ))
                .at(at(header.lines.ttl))
                .hint(format!("write `-- ttl: {longest}` or longer, or leave it out")),
            );
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let sharding = sharding(&plan, &header.key, self.streams);
        let single = matches!(sharding, Sharding::Single { .. });
        let tiling = written.as_ref().map_err(Clone::clone);
        let tiling = tiling.and_then(|written| tiling::analyse(&self.state, written, &key, single));
        let keying = written.and_then(|written| keying::analyse(&self.state, &written, &key));
        let classification = classify::classify(&tiling, &keying);
        let ttl = if ttl.is_zero() { Duration::from_secs(24 * 3600) } else { ttl };
        Ok(FeatureView {
            name: header.view.clone(),
            file: file.path.clone(),
            sql: file.text.clone(),
            ttl,
            key,
            output,
            windows,
            scans,
            sharding,
            classification,
            tiling,
            keying,
            plan,
            plain: Ok(()),
            header,
        })
    }

    /// The view, if DataFusion can run as much of it as it will be given.
    async fn rehearsed(&self, file: &ViewFile, view: FeatureView) -> Result<FeatureView, Vec<Problem>> {
        let Err(error) = rehearse(&self.state, &view.plan, &view.windows).await else { return Ok(view) };
        let plain = Err(error.find_root().to_string());
        let failed = match &view.tiling {
            Ok(tiling) => rehearse(&self.state, &tiling.rest, &view.windows).await.err(),
            Err(_) => Some(error),
        };
        let Some(error) = failed else { return Ok(FeatureView { plain, ..view }) };
        Err(vec![problems::of_error(
            &view.name,
            &file.path,
            &file.text,
            self.streams,
            &self.functions,
            &error,
        )])
    }
}

/// Functions whose result is not a function of their input, and parameters.
fn refuse_unfit(name: &str, file: &ViewFile, plan: &LogicalPlan) -> Result<(), Problem> {
    let mut found: Option<Problem> = None;
    let place = |word: &str| {
        let (line, column) = problems::find_word(&file.text, word).unzip();
        Place { file: file.path.clone(), line, column }
    };
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if part.is_volatile_node() && found.is_none() {
                    let function = match part {
                        Expr::ScalarFunction(function) => function.name().to_owned(),
                        other => other.to_string(),
                    };
                    found = Some(
                        Problem::refused(
                            name,
                            format!("the result of `{function}` is not a function of its input"),
                        )
                        .at(place(&function))
                        .hint("features must come out the same when they are computed again; use columns of the events instead"),
                    );
                }
                if let Expr::Placeholder(parameter) = part
                    && found.is_none()
                {
                    found = Some(
                        Problem::new(format!("view `{name}` has a parameter: `{}`", parameter.id))
                            .at(place(&parameter.id))
                            .hint("a feature view has none; write the value"),
                    );
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    found.map_or(Ok(()), Err)
}

/// What each scan of a stream reads and how far back it reaches.
fn scans_of(
    state: &SessionState,
    view: &str,
    file: &ViewFile,
    plan: &LogicalPlan,
) -> Result<Vec<Scan>, Vec<Problem>> {
    let mut scans = Vec::new();
    let mut problems = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let stream = scan.table_name.table().to_owned();
            let bound = scan
                .filters
                .iter()
                .flat_map(|filter| split_conjunction(filter))
                .filter_map(|conjunct| window::lower_bound(state, conjunct))
                .min_by_key(|window| window.length);
            let mut columns: BTreeSet<String> =
                scan.projected_schema.fields().iter().map(|field| field.name().clone()).collect();
            for filter in &scan.filters {
                columns.extend(filter.column_refs().into_iter().map(|column| column.name.clone()));
            }
            match bound {
                Some(bound) => scans.push(Scan { stream, columns, bound }),
                None => {
                    let (line, column) = problems::find_word(&file.text, &stream).unzip();
                    problems.push(
                        Problem::refused(
                            view,
                            format!("nothing bounds which events of stream `{stream}` must be kept"),
                        )
                        .at(Place { file: file.path.clone(), line, column })
                        .hint(format!(
                            "add a window that holds for every row, such as `WHERE {EVENT_TIME} > now() - INTERVAL '24 hours'` (a FILTER bounds only its aggregate)"
                        )),
                    );
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if scans.is_empty() && problems.is_empty() {
        problems.push(
            Problem::refused(view, "it reads no stream")
                .at(Place::file(&file.path))
                .hint("select from a stream"),
        );
    }
    problems.dedup();
    if problems.is_empty() { Ok(scans) } else { Err(problems) }
}

/// Whether each entity's events are all in one partition.
fn sharding(plan: &LogicalPlan, key: &[String], streams: &Streams) -> Sharding {
    let mut sources = BTreeSet::new();
    for name in key {
        sources.extend(lineage::of(plan, &Column::new_unqualified(name.clone())));
    }
    let mut scanned: BTreeMap<String, bool> = BTreeMap::new();
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let name = scan.table_name.table();
            let keyed = streams.iter().find(|stream| stream.name == name).is_some_and(|stream| {
                sources.iter().any(|source| source.stream == name && source.column == stream.key)
            });
            scanned.insert(name.to_owned(), keyed);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let strangers: Vec<&String> =
        scanned.iter().filter(|(_, keyed)| !**keyed).map(|(name, _)| name).collect();
    match strangers.as_slice() {
        [] => Sharding::ByPartition,
        [name, ..] => {
            let partitioned =
                streams.iter().find(|stream| stream.name == **name).map_or("", |stream| stream.key.as_str());
            Sharding::Single {
                reason: format!(
                    "stream `{name}` is partitioned by `{partitioned}`, which is not the view's key `{}`",
                    key.join(", ")
                ),
            }
        }
    }
}
