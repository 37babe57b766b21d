//! What is shown, as text: the run in numbers, and a few entities with their
//! features as the store has them. How it is laid out is [`super::table`].

use std::collections::BTreeMap;
use std::time::Duration;

/// A hash's fields.
pub(super) type Fields = BTreeMap<String, String>;

/// Everything that is on the screen at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Board {
    /// The run in numbers.
    pub(super) headline: Headline,
    /// Entities, a kind each.
    pub(super) sections: Vec<Section>,
    /// What to do next, a line each.
    pub(super) hints: Vec<String>,
}

/// The run in numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Headline {
    /// Events a second, lately.
    pub(super) rate: f64,
    /// Events since the start.
    pub(super) events: f64,
    /// Half of the features are fresher, lately; in seconds.
    pub(super) fresh_p50: Option<f64>,
    /// Of a hundred, one is older.
    pub(super) fresh_p99: Option<f64>,
    /// Events not yet in the store.
    pub(super) lag: f64,
    /// Hashes that are kept up.
    pub(super) entities: usize,
    /// Events that could not be used.
    pub(super) dead_letters: f64,
    /// Since the start.
    pub(super) elapsed: Duration,
}

impl Headline {
    /// The numbers with their names, in order.
    pub(super) fn cells(&self) -> [(&'static str, String); 8] {
        [
            ("events/s", whole(self.rate)),
            ("events", whole(self.events)),
            ("fresh p50", seconds(self.fresh_p50)),
            ("fresh p99", seconds(self.fresh_p99)),
            ("lag", whole(self.lag)),
            ("entities", grouped(&self.entities.to_string())),
            ("dead letters", whole(self.dead_letters)),
            ("elapsed", clock(self.elapsed)),
        ]
    }

    /// The same as a line.
    pub(super) fn line(&self) -> String {
        format!(
            "{:>6}  {} events/s  {} events  fresh p50 {} p99 {}  lag {}  {} entities  {} dead letters",
            clock(self.elapsed),
            whole(self.rate),
            whole(self.events),
            seconds(self.fresh_p50),
            seconds(self.fresh_p99),
            whole(self.lag),
            grouped(&self.entities.to_string()),
            whole(self.dead_letters),
        )
    }
}

/// A feature that is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Its field in the hash.
    pub(super) field: &'static str,
    /// What it is called where there is little room.
    pub(super) name: &'static str,
    /// Digits after the point.
    pub(super) digits: usize,
    /// How wide it is in the table.
    pub(super) width: usize,
}

const fn column(field: &'static str, name: &'static str, digits: usize, width: usize) -> Column {
    Column { field, name, digits, width }
}

/// Entities of a kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Section {
    /// Which they are, and where their features come from.
    pub(super) title: String,
    /// What the entities are called.
    pub(super) entity: &'static str,
    /// Their features.
    pub(super) columns: &'static [Column],
    /// What the words at a row's end are.
    pub(super) note: &'static str,
    /// The entities.
    pub(super) rows: Vec<Row>,
}

/// An entity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Its key.
    pub(super) name: String,
    /// A feature a column.
    pub(super) cells: Vec<String>,
    /// Its flags in words.
    pub(super) note: String,
}

impl Row {
    /// The row as a line.
    pub(super) fn line(&self, columns: &[Column]) -> String {
        let mut line = format!("{:8}{}", "", self.name);
        for (column, cell) in columns.iter().zip(&self.cells) {
            line.push_str(&format!("  {} {cell}", column.field));
        }
        if !self.note.is_empty() {
            line.push_str("  ");
            line.push_str(&self.note);
        }
        line
    }
}

/// What is shown of a card, from view `transaction`.
pub(super) const CARD_COLUMNS: &[Column] = &[
    column("txn_count_5m", "txn 5m", 0, 7),
    column("amount_sum_5m", "amount 5m", 2, 13),
    column("velocity_score", "velocity", 2, 9),
    column("unique_countries_5m", "countries", 0, 10),
    column("amount_zscore", "z-score", 2, 8),
];

/// What is shown of a user, from view `clickstream`.
pub(super) const USER_COLUMNS: &[Column] = &[
    column("pages_per_session", "pages", 0, 7),
    column("cart_adds_session", "cart adds", 0, 13),
    column("purchases_session", "bought", 0, 9),
    column("page_views_5m", "pages 5m", 0, 10),
    column("engagement_score", "engaged", 2, 8),
];

/// Flags and what they say.
type Flags = &'static [(&'static str, &'static str)];

/// Flags of a card, the gravest first.
const CARD_FLAGS: Flags = &[
    ("is_high_velocity", "fast"),
    ("is_amount_outlier", "outlier"),
    ("is_geo_diverse", "travels"),
    ("is_suspicious_ip", "hidden address"),
    ("is_high_risk_country", "risky country"),
    ("has_high_risk_mcc", "risky shop"),
    ("has_small_amounts", "small amounts"),
    ("has_round_amounts", "round amounts"),
];

const USER_FLAGS: Flags = &[("is_likely_purchaser", "buys"), ("is_high_engagement", "engaged")];

/// A card.
pub(super) fn card(name: &str, fields: &Fields) -> Row {
    row(name, fields, CARD_COLUMNS, CARD_FLAGS)
}

/// A user.
pub(super) fn user(name: &str, fields: &Fields) -> Row {
    row(name, fields, USER_COLUMNS, USER_FLAGS)
}

fn row(name: &str, fields: &Fields, columns: &[Column], flags: Flags) -> Row {
    let cells = columns.iter().map(|column| number(fields, column.field, column.digits)).collect();
    Row { name: name.to_owned(), cells, note: words(fields, flags) }
}

/// Any hash: what fits of its fields.
pub(super) fn any(name: &str, fields: &Fields) -> Row {
    let shown = fields.iter().filter(|(field, _)| !field.starts_with('_'));
    let shown: Vec<String> = shown.map(|(field, value)| format!("{field} {value}")).collect();
    Row { name: name.to_owned(), cells: Vec::new(), note: shown.join("  ") }
}

fn words(fields: &Fields, flags: Flags) -> String {
    let set = flags.iter().filter(|(field, _)| fields.get(*field).is_some_and(|value| value == "true"));
    set.map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
}

/// A feature with so many digits after the point; `-` where it is NULL.
fn number(fields: &Fields, field: &str, digits: usize) -> String {
    match fields.get(field).map(|text| text.parse::<f64>()) {
        Some(Ok(number)) => grouped(&format!("{number:.digits$}")),
        _ => "-".to_owned(),
    }
}

/// A count.
fn whole(number: f64) -> String {
    grouped(&format!("{number:.0}"))
}

/// A number's text with its thousands apart.
pub(super) fn grouped(text: &str) -> String {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (whole, rest) = text.split_at(digits);
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2} s"))
}

/// Minutes and seconds.
fn clock(elapsed: Duration) -> String {
    format!("{}:{:02}", elapsed.as_secs() / 60, elapsed.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn thousands_are_apart() {
        let texts = ["0", "999", "1000", "-1234567.25", "NaN", "inf"];
        assert_eq!(texts.map(grouped), ["0", "999", "1,000", "-1,234,567.25", "NaN", "inf"]);
    }

    #[test]
    fn a_card_is_its_features_and_its_flags_in_words() {
        let fields = fields(&[
            ("txn_count_5m", "12"),
            ("amount_sum_5m", "1234.5"),
            ("velocity_score", "1.0"),
            ("unique_countries_5m", "3"),
            ("is_geo_diverse", "true"),
            ("is_high_velocity", "true"),
            ("is_suspicious_ip", "false"),
        ]);
        let row = card("card_1", &fields);
        assert_eq!(row.cells, ["12", "1,234.50", "1.00", "3", "-"]);
        assert_eq!(row.note, "fast, travels");
        assert_eq!(
            row.line(CARD_COLUMNS),
            "        card_1  txn_count_5m 12  amount_sum_5m 1,234.50  velocity_score 1.00  unique_countries_5m 3  \
             amount_zscore -  fast, travels"
        );
        assert_eq!(user("u", &Fields::new()).cells, ["-"; 5]);
    }

    #[test]
    fn the_headline_is_a_line_too() {
        let headline = Headline {
            rate: 1999.6,
            events: 60_000.0,
            fresh_p50: Some(0.204),
            entities: 1234,
            elapsed: Duration::from_secs(61),
            ..Headline::default()
        };
        assert_eq!(
            headline.line(),
            "  1:01  2,000 events/s  60,000 events  fresh p50 0.20 s p99 -  lag 0  1,234 entities  0 dead letters"
        );
    }
}
