//! The live table: what is shown, laid out for a terminal of a given size.
//! Nothing here writes.
//!
//! ```text
//!   windrow demo                                          Kafka, SQL and Redis in one process
//!
//!    events/s     events fresh p50 fresh p99      lag  entities dead letters elapsed
//!       2,003     24,013    0.21 s    0.34 s      512     8,123           14    0:12
//!
//!   CARDS  features:card:{card_id}:transaction
//!   card_id         txn 5m    amount 5m velocity countries z-score  signals
//!   card_00000042       12     1,234.50     0.83         3    2.41  fast, travels
//! ```

use std::collections::HashMap;

use super::board::{Board, Row, Section};

/// Lines that are no entities: the title, the headline, two sections' heads, hints and gaps.
const FIXED_LINES: usize = 13;

/// The most entities of a kind: more would not be read.
const MOST_ROWS: usize = 16;

/// How wide an entity's key is.
const NAME_WIDTH: usize = 15;

/// Widths of the headline's cells: 80 columns together.
const HEADLINE_WIDTHS: [usize; 8] = [9, 11, 10, 10, 9, 10, 13, 8];

/// For how many drawings a value that changed is marked: about a second.
const MARKED_FOR: u64 = 4;

/// After how many drawings a row that is not shown is forgotten.
const FORGOTTEN_AFTER: u64 = 40;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As text does.
    Plain,
    /// Names of columns, hints.
    Dim,
    /// Titles.
    Bold,
    /// A value that has just changed.
    Changed,
    /// A flag.
    Warning,
}

impl Style {
    /// The escape sequence that begins it.
    const fn begin(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "\x1b[2m",
            Self::Bold => "\x1b[1m",
            Self::Changed => "\x1b[1;32m",
            Self::Warning => "\x1b[33m",
        }
    }
}

/// A line: pieces of text.
pub(super) type Line = Vec<(Style, String)>;

/// How many cards and users fit on a screen with so many lines.
pub(super) fn room(height: usize) -> (usize, usize) {
    let rows = height.saturating_sub(FIXED_LINES);
    let users = (rows * 3 / 11).clamp(1, MOST_ROWS);
    (rows.saturating_sub(users).clamp(1, MOST_ROWS), users)
}

/// Which values have changed lately.
#[derive(Debug, Default)]
pub(super) struct Marks {
    drawing: u64,
    /// By row and column.
    seen: HashMap<(String, usize), Seen>,
}

/// A value that was shown.
#[derive(Debug)]
struct Seen {
    text: String,
    /// The drawing in which it changed.
    changed: Option<u64>,
    /// The drawing in which it was last shown.
    shown: u64,
}

impl Marks {
    fn begin(&mut self) {
        self.drawing += 1;
        let drawing = self.drawing;
        self.seen.retain(|_, seen| seen.shown + FORGOTTEN_AFTER >= drawing);
    }

    /// Notes a value; whether it is to be marked. One that is new has not changed.
    fn changed(&mut self, row: &str, column: usize, text: &str) -> bool {
        let drawing = self.drawing;
        let seen = self.seen.entry((row.to_owned(), column)).or_insert_with(|| Seen {
            text: text.to_owned(),
            changed: None,
            shown: drawing,
        });
        if seen.text != text {
            text.clone_into(&mut seen.text);
            seen.changed = Some(drawing);
        }
        seen.shown = drawing;
        seen.changed.is_some_and(|changed| drawing < changed + MARKED_FOR)
    }
}

/// Lays out a screen: never more lines than `height`, none wider than `width`.
pub(super) fn layout(board: &Board, width: usize, height: usize, marks: &mut Marks) -> Vec<Line> {
    marks.begin();
    let mut lines: Vec<Line> = vec![title(width), Line::new()];
    lines.extend(headline(board));
    for section in &board.sections {
        lines.push(Line::new());
        lines.extend(section_lines(section, width, marks));
    }
    let hints: Vec<Line> = board.hints.iter().map(|hint| vec![(Style::Dim, hint.clone())]).collect();
    let space = height.saturating_sub(hints.len() + 1);
    lines.truncate(space);
    lines.push(Line::new());
    lines.extend(hints);
    lines.truncate(height);
    lines.into_iter().map(|line| cut(line, width)).collect()
}

/// Lines as what a terminal takes: drawn over what was there, with nothing left of it.
pub(super) fn render(lines: &[Line]) -> String {
    let mut text = String::from("\x1b[H");
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            text.push_str("\r\n");
        }
        for (style, piece) in line {
            text.push_str(style.begin());
            text.push_str(piece);
            if *style != Style::Plain {
                text.push_str("\x1b[0m");
            }
        }
        text.push_str("\x1b[K");
    }
    text.push_str("\x1b[J");
    text
}

fn title(width: usize) -> Line {
    let (left, right) = ("windrow demo", "Kafka, SQL and Redis on this machine");
    let gap = width.saturating_sub(left.len() + right.len()).max(2);
    vec![(Style::Bold, left.to_owned()), (Style::Dim, format!("{:gap$}{right}", ""))]
}

fn headline(board: &Board) -> [Line; 2] {
    let cells = board.headline.cells();
    let of = |cell: usize| (&cells[cell], HEADLINE_WIDTHS[cell]);
    let names = (0..cells.len())
        .map(of)
        .map(|((name, _), width)| format!("{name:>width$}"))
        .collect::<Vec<_>>()
        .concat();
    let values = (0..cells.len())
        .map(of)
        .map(|((_, value), width)| format!("{value:>width$}"))
        .collect::<Vec<_>>()
        .concat();
    [vec![(Style::Dim, names)], vec![(Style::Bold, values)]]
}

fn section_lines(section: &Section, width: usize, marks: &mut Marks) -> Vec<Line> {
    let mut names = fit(section.entity, NAME_WIDTH);
    for column in section.columns {
        names.push_str(&format!("{:>width$}", column.name, width = column.width));
    }
    if !section.note.is_empty() {
        names.push_str("  ");
        names.push_str(section.note);
    }
    let mut lines = vec![vec![(Style::Bold, section.title.clone())], vec![(Style::Dim, names)]];
    lines.extend(section.rows.iter().map(|row| row_line(section, row, width, marks)));
    lines
}

fn row_line(section: &Section, row: &Row, width: usize, marks: &mut Marks) -> Line {
    let name_width = if section.columns.is_empty() { (width / 2).max(NAME_WIDTH) } else { NAME_WIDTH };
    let mut line = vec![(Style::Plain, fit(&row.name, name_width))];
    for (index, (column, cell)) in section.columns.iter().zip(&row.cells).enumerate() {
        let style = if marks.changed(&row.name, index, cell) { Style::Changed } else { Style::Plain };
        line.push((style, format!("{cell:>width$}", width = column.width)));
    }
    if !row.note.is_empty() {
        let style = if section.columns.is_empty() { Style::Plain } else { Style::Warning };
        line.push((Style::Plain, "  ".to_owned()));
        line.push((style, row.note.clone()));
    }
    line
}

/// A text in exactly so many columns.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:width$}");
    }
    text.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

/// A line in at most so many columns.
fn cut(line: Line, width: usize) -> Line {
    let mut left = width;
    let mut kept = Line::new();
    for (style, piece) in line {
        let length = piece.chars().count();
        if length > left {
            if left > 0 {
                kept.push((style, fit(&piece, left)));
            }
            break;
        }
        left -= length;
        kept.push((style, piece));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::board::{CARD_COLUMNS, Headline, USER_COLUMNS};
    use super::*;

    fn board(cards: usize, users: usize, count: &str) -> Board {
        let row = |kind: &str, index: usize| Row {
            name: format!("{kind}_{index:08}"),
            cells: [count, "1,234.50", "0.83", "3", "2.41"].map(String::from).to_vec(),
            note: "fast, outlier, hidden address, risky country".to_owned(),
        };
        let section = |title: &str, entity, columns, rows| Section {
            title: title.to_owned(),
            entity,
            columns,
            note: "signals",
            rows,
        };
        Board {
            headline: Headline { rate: 2000.0, events: 12_345_678.0, ..Headline::default() },
            sections: vec![
                section(
                    "CARDS",
                    "card_id",
                    CARD_COLUMNS,
                    (0..cards).map(|index| row("card", index)).collect(),
                ),
                section(
                    "USERS",
                    "user_id",
                    USER_COLUMNS,
                    (0..users).map(|index| row("user", index)).collect(),
                ),
            ],
            hints: vec!["look".to_owned(), "end".to_owned()],
        }
    }

    fn texts(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| line.iter().map(|(_, piece)| piece.as_str()).collect()).collect()
    }

    #[test]
    fn an_ordinary_terminal_is_filled_and_not_more() {
        let (cards, users) = room(24);
        assert_eq!((cards, users), (8, 3));
        let lines = texts(&layout(&board(cards, users, "12"), 80, 24, &mut Marks::default()));
        assert_eq!(lines.len(), 24);
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        assert_eq!(
            lines[2],
            " events/s     events fresh p50 fresh p99      lag  entities dead letters elapsed"
        );
        assert_eq!(lines[5], "CARDS");
        assert_eq!(
            lines[7],
            "card_00000000       12     1,234.50     0.83         3    2.41  fast, outlier, …"
        );
        assert_eq!((lines[22].as_str(), lines[23].as_str()), ("look", "end"));
    }

    #[test]
    fn other_sizes_show_more_or_less() {
        assert_eq!(room(40), (MOST_ROWS, 7));
        assert_eq!(room(5), (1, 1));
        for (width, height) in [(20, 5), (200, 60), (1, 1), (80, 0)] {
            let (cards, users) = room(height);
            let lines = texts(&layout(&board(cards, users, "12"), width, height, &mut Marks::default()));
            assert!(
                lines.len() <= height && lines.iter().all(|line| line.chars().count() <= width),
                "{lines:#?}"
            );
        }
    }

    #[test]
    fn a_value_is_marked_when_it_changes_and_for_a_while() {
        let mut marks = Marks::default();
        let mut drawn = |count: &str| {
            let lines = layout(&board(1, 0, count), 80, 24, &mut marks);
            lines[7].iter().any(|(style, _)| *style == Style::Changed)
        };
        let found: Vec<bool> = ["1", "1", "2", "2", "2", "2", "2"].map(&mut drawn).to_vec();
        assert_eq!(found, [false, false, true, true, true, true, false]);
    }

    #[test]
    fn every_line_is_drawn_over_the_old_one() {
        let lines = vec![vec![(Style::Plain, "a".to_owned()), (Style::Dim, "b".to_owned())], Line::new()];
        assert_eq!(render(&lines), "\x1b[Ha\x1b[2mb\x1b[0m\x1b[K\r\n\x1b[K\x1b[J");
    }
}
