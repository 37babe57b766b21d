//! Whose fault an error is, whether a retry may help, and how a problem in
//! somebody's configuration or SQL is shown. The errors themselves live in
//! their modules; none is defined here.

use std::fmt;

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The user: an option, a schema, a view, a credential.
    User,
    /// The world outside: a broker, a store, a network. A retry may help.
    Outside,
    /// This program. A bug; a retry will not help.
    Ours,
}

/// Where in a user's file a problem stands. Lines and columns begin at 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as the user named it.
    pub file: String,
    /// Line, when known.
    pub line: Option<u64>,
    /// Column, when known.
    pub column: Option<u64>,
}

impl Place {
    /// The whole file.
    pub fn file(file: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, column: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        Ok(())
    }
}

/// One thing wrong with what a user wrote: what, where, what would be valid,
/// what to do.
///
/// ```text
/// error: view `transaction` names a column that stream `transactions` does not have: `card`
///   --> sql/transaction.sql:7:10
///   valid columns: amount, card_id, currency, …
/// hint: did you mean `card_id`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong: lowercase, no final stop.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// What would be valid: a label (`valid columns`) and the names.
    pub valid: Option<(String, Vec<String>)>,
    /// What to do.
    pub hint: Option<String>,
    /// The feature view that is refused for it, where one is.
    pub refused: Option<Refused>,
}

/// A feature view that is understood and cannot be kept up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub view: String,
    /// Why.
    pub reason: String,
}

impl Problem {
    /// A problem that has only its message so far.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, valid: None, hint: None, refused: None }
    }

    /// A feature view is refused, for this reason.
    pub fn refused(view: &str, reason: impl Into<String>) -> Self {
        let refused = Refused { view: view.to_owned(), reason: reason.into() };
        let message = format!("view `{view}` is refused: {}", refused.reason);
        Self { refused: Some(refused), ..Self::new(message) }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the valid values and, when one of them is close to `given`, asks
    /// whether it was meant.
    #[must_use]
    pub fn valid<I, S>(mut self, label: &str, given: &str, names: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
        names.sort();
        names.dedup();
        if self.hint.is_none()
            && let Some(near) = nearest(given, &names)
        {
            self.hint = Some(format!("did you mean `{near}`?"));
        }
        self.valid = Some((label.to_owned(), names));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(place) = &self.place {
            write!(f, "\n  --> {place}")?;
        }
        if let Some((label, names)) = &self.valid {
            write!(f, "\n  {label}: {}", names.join(", "))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Every problem of a start, shown together. Exit status 2.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Whether an option of the configuration is among what is wrong.
    pub fn has_option(&self, path: &str) -> bool {
        self.0.iter().any(|problem| problem.message.starts_with(&format!("`{path}`: ")))
    }

    /// `Ok(value)` when nothing was found wrong.
    ///
    /// # Errors
    /// The problems, when there are any.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "error: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The name in `names` that `given` most likely meant, if any is close.
pub fn nearest<'a>(given: &str, names: &'a [String]) -> Option<&'a String> {
    closest(given, names, similarity, 0.6)
}

/// The name in `names` that `given` misspells, if any: nearer than what is only
/// worth a question.
pub fn misspelt<'a>(given: &str, names: &'a [String]) -> Option<&'a String> {
    closest(given, names, spelling, 0.82)
}

fn closest<'a>(
    given: &str,
    names: &'a [String],
    score: fn(&str, &str) -> f64,
    least: f64,
) -> Option<&'a String> {
    let given = given.to_lowercase();
    names
        .iter()
        .map(|name| (score(&given, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= least)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// A name that begins or ends with what was given counts as close: `card` for `card_id`.
fn similarity(given: &str, name: &str) -> f64 {
    let spelled = spelling(given, name);
    if given.len() >= 3 && (name.starts_with(given) || name.ends_with(given)) {
        spelled.max(0.9)
    } else {
        spelled
    }
}

/// How far two names are written alike, from 0 to 1.
fn spelling(given: &str, name: &str) -> f64 {
    strsim::jaro_winkler(given, name) * 0.5 + strsim::normalized_levenshtein(given, name) * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_where_valid_and_meant() {
        let problem = Problem::new("no column `card`")
            .at(Place { file: "a.sql".into(), line: Some(7), column: Some(10) })
            .valid("valid columns", "card", ["currency", "card_id", "amount"]);
        assert_eq!(
            problem.to_string(),
            "no column `card`\n  --> a.sql:7:10\n  valid columns: amount, card_id, currency\nhint: did you mean `card_id`?"
        );
    }

    #[test]
    fn nothing_near_gives_no_hint() {
        assert_eq!(nearest("zzz", &["amount".to_owned()]), None);
    }
}
