//! A statement that is composed of the parts that were asked for, with their values.

use super::dialect::Dialect;
use super::multi_row::Statement;
use sqlx::AssertSqlSafe;

/// A value of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Number(i64),
    Text(String),
}

/// The text of a statement, and its values in their order. Only constant text is appended, so no
/// value can become a part of it.
#[derive(Debug, Clone)]
pub(in crate::store) struct SelectText {
    dialect: Dialect,
    text: String,
    values: Vec<Value>,
}

impl SelectText {
    /// A statement that begins with this text, in which braces mean the same as in [`Self::push`].
    pub fn new(dialect: Dialect, text: &'static str) -> Self {
        let mut select = Self {
            dialect,
            text: String::new(),
            values: Vec::new(),
        };

        select.push(text);

        select
    }

    /// Appends text, as [`Dialect::text`] has it. A column in braces, as in `{s.room_id}`, is one
    /// whose index must not be used.
    pub fn push(&mut self, text: &'static str) -> &mut Self {
        let text = self.dialect.text(text);
        let mut parts = text.split(['{', '}']);
        self.text.push_str(parts.next().unwrap_or_default());
        while let Some(column) = parts.next() {
            self.text.push_str(&self.dialect.without_index(column));
            self.text.push_str(parts.next().unwrap_or_default());
        }

        self
    }

    /// Appends a number as a parameter.
    pub fn number(&mut self, number: i64) -> &mut Self {
        self.bind(Value::Number(number))
    }

    /// Appends a text as a parameter.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bind(Value::Text(text.to_owned()))
    }

    /// Appends a parameter, and its value to the values.
    fn bind(&mut self, value: Value) -> &mut Self {
        self.values.push(value);
        self.text
            .push_str(&self.dialect.parameter(self.values.len()));

        self
    }

    /// The text alone, for its plan.
    #[cfg(test)]
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// The statement with its values.
    pub fn statement(self) -> Statement {
        let query = sqlx::query(AssertSqlSafe(self.text));

        self.values
            .into_iter()
            .fold(query, |query, value| match value {
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_room(dialect: Dialect) -> String {
        let mut select = SelectText::new(dialect, "select * from sessions s where {s.room_id} = ");
        select
            .text("!r:h")
            .push(" and s.started_ms < ")
            .number(7)
            .push(" order by {s.id}");

        select.as_text().to_owned()
    }

    #[test]
    fn each_database_gets_its_own_text() {
        assert_eq!(
            one_room(Dialect::Sqlite),
            "select * from sessions s where +s.room_id = ? and s.started_ms < ? order by +s.id"
        );
        assert_eq!(
            one_room(Dialect::Postgres),
            "select * from sessions s where s.room_id = $1 and s.started_ms < $2 order by s.id"
        );
    }
}
