//! How deep a view's SQL goes, found before it is parsed. What follows an
//! operator stands one deeper in the tree that is made of it: `1+1+1+…` is as
//! deep as it is long, and trees are walked, shown and dropped by recursion. The
//! parser has a limit to brackets alone.

use std::mem;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

/// The most operators on top of each other, and the most joins and set
/// operations of a view: many times what people write, and few enough for the
/// stack of any thread.
const DEEPEST: usize = 256;

/// What a token does to the depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Operand,
    Operator,
    /// A join, or what puts a query on top of those before it.
    Query,
    /// What follows is another expression beside this one.
    Separator,
    Open {
        is_case: bool,
    },
    Close,
}

/// An opened bracket or `CASE`.
#[derive(Debug, Default)]
struct Level {
    is_case: bool,
    /// Operators of the expression at hand.
    operators: usize,
    /// The deepest of the brackets in it.
    inside: usize,
    /// The deepest of the expressions before it.
    before: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.before.max(self.operators + self.inside)
    }
}

/// Where a text goes too deep, and what it has too much of.
pub(super) fn too_deep(text: &str) -> Option<(Location, String)> {
    // What cannot be read, the parser tells.
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().ok()?;
    let mut queries = 0;
    let mut around: Vec<Level> = Vec::new();
    let mut level = Level::default();
    for token in tokens {
        match role(&token.token, level.is_case) {
            Role::Operand => {}
            Role::Operator => level.operators += 1,
            Role::Query => queries += 1,
            Role::Separator => {
                level = Level { is_case: level.is_case, before: level.depth(), ..Level::default() };
            }
            Role::Open { is_case } => {
                // An index applies to all that stands before it.
                level.operators += usize::from(token.token == Token::LBracket);
                around.push(mem::replace(&mut level, Level { is_case, ..Level::default() }));
            }
            Role::Close => {
                if let Some(outer) = around.pop() {
                    let inside = outer.inside.max(level.depth() + 1);
                    level = Level { inside, ..outer };
                }
            }
        }
        if level.depth() > DEEPEST {
            return Some((token.span.start, format!("an expression of more than {DEEPEST} operators")));
        }
        if queries > DEEPEST {
            return Some((token.span.start, format!("more than {DEEPEST} joins and set operations")));
        }
    }
    None
}

fn role(token: &Token, in_case: bool) -> Role {
    match token {
        Token::LParen | Token::LBracket | Token::LBrace => Role::Open { is_case: false },
        Token::RParen | Token::RBracket | Token::RBrace => Role::Close,
        Token::Comma | Token::SemiColon => Role::Separator,
        Token::Word(word) => match word.keyword {
            Keyword::CASE => Role::Open { is_case: true },
            Keyword::END if in_case => Role::Close,
            Keyword::WHEN | Keyword::THEN | Keyword::ELSE if in_case => Role::Separator,
            Keyword::JOIN | Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS => {
                Role::Query
            }
            Keyword::AND
            | Keyword::OR
            | Keyword::XOR
            | Keyword::NOT
            | Keyword::IS
            | Keyword::NOTNULL
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::RLIKE
            | Keyword::REGEXP
            | Keyword::SIMILAR
            | Keyword::BETWEEN
            | Keyword::COLLATE
            | Keyword::AT
            | Keyword::DIV
            | Keyword::OVERLAPS => Role::Operator,
            _ => Role::Operand,
        },
        Token::Whitespace(_)
        | Token::EOF
        | Token::Period
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::Placeholder(_) => Role::Operand,
        _ => Role::Operator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `count` times `part` is too deep, between a beginning and an end.
    #[track_caller]
    fn check(begin: &str, part: &str, count: usize, end: &str, expected: bool) {
        let text = format!("{begin}{}{end}", part.repeat(count));
        assert_eq!(too_deep(&text).is_some(), expected, "{count} times `{part}` after `{begin}`");
    }

    #[test]
    fn chains_are_as_deep_as_they_are_long() {
        for part in [" + 1", " - -1", "::int", " AND a", " IS NULL", "[1]", " || 'a'", " NOT LIKE 'a'"] {
            check("SELECT a", part, 100, " FROM t", false);
            check("SELECT a", part, 20_000, " FROM t", true);
        }
        check("SELECT 1", " + 1", DEEPEST, "", false);
        check("SELECT 1", " + 1", DEEPEST + 1, "", true);
        for part in [" UNION ALL SELECT a, b FROM t", " JOIN t ON f(a, b)"] {
            check("SELECT a, b FROM t", part, 100, "", false);
            check("SELECT a, b FROM t", part, 1000, "", true);
        }
    }

    #[test]
    fn what_stands_in_brackets_is_deeper() {
        check("SELECT 1", " + (1 + 1)", 200, "", false);
        // What is around them comes on top, whether before or behind.
        let half = " + 1".repeat(150);
        for text in [format!("SELECT (1{half}){half}"), format!("SELECT 1{half} + f(a, 1{half}, b)")] {
            assert!(too_deep(&text).is_some(), "{text}");
        }
        let case = format!("SELECT CASE WHEN a THEN 1{half} ELSE 2 END{half}");
        assert!(too_deep(&case).is_some(), "{case}");
    }

    #[test]
    fn what_stands_beside_each_other_is_not() {
        check("SELECT a", ", b + c * 2 AS d", 2000, " FROM t", false);
        check("SELECT a FROM t WHERE b IN (1", ", 2 + 3", 5000, ")", false);
        check("SELECT CASE", " WHEN a = 1 AND b = 2 THEN c + 1", 500, " ELSE 0 END FROM t", false);
        check("SELECT a -- ", "+ + + ", 500, "\nFROM t /* + + */", false);
        check("SELECT '", "+ ", 500, "' AS \"+ + +\" FROM t", false);
        for text in ["", ")))", "SELECT 'a", "CASE END END", "((("] {
            assert_eq!(too_deep(text), None, "{text}");
        }
    }

    #[test]
    fn the_place_is_that_of_the_first_operator_too_many() {
        let text = format!("SELECT 1{}\n  + 1 + 1", " + 1".repeat(DEEPEST));
        let (place, what) = too_deep(&text).unwrap();
        assert_eq!((place.line, place.column), (2, 3));
        assert!(what.contains("operators"), "{what}");
    }
}
