//! Where rows come from: CSV with a header line, a JSON array or JSON lines, another PostgreSQL.

use std::io::{BufRead, Read};

use portcullis_store::Foreign;
use serde_json::{Map, Value};

use super::{BATCH, Error, Row};

/// Rows, a batch at a time.
pub struct Rows {
    from: From,
    count: u64,
}

enum From {
    Csv(Box<csv::Reader<Box<dyn Read + Send>>>),
    Lines(std::io::Split<Box<dyn BufRead + Send>>),
    Array(std::vec::IntoIter<Value>),
    Postgres(Foreign),
}

impl Rows {
    /// CSV (RFC 4180) whose first line names the columns.
    pub fn csv(input: Box<dyn Read + Send>) -> Self {
        let reader = csv::ReaderBuilder::new().from_reader(input);
        Rows::of(From::Csv(Box::new(reader)))
    }

    /// One JSON object to a line.
    pub fn json_lines(input: Box<dyn BufRead + Send>) -> Self {
        // Not `lines`: one that is no UTF-8 is a row that is refused, and not the end.
        Rows::of(From::Lines(input.split(b'\n')))
    }

    /// One JSON array of objects, read whole.
    pub fn json(input: Box<dyn Read + Send>) -> Result<Self, Error> {
        let rows: Vec<Value> =
            serde_json::from_reader(input).map_err(|error| malformed(0, &error))?;
        Ok(Rows::given(rows))
    }

    /// Rows that are there already.
    pub(crate) fn given(rows: Vec<Value>) -> Self {
        Rows::of(From::Array(rows.into_iter()))
    }

    /// The answer to a query.
    pub fn postgres(foreign: Foreign) -> Self {
        Rows::of(From::Postgres(foreign))
    }

    fn of(from: From) -> Self {
        Rows { from, count: 0 }
    }

    /// The next rows; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Vec<Row>, Error> {
        let from = self.count;
        let next = |position: usize| from.saturating_add(position as u64).saturating_add(1);
        let mut batch = Vec::new();
        match &mut self.from {
            From::Csv(reader) => {
                for (position, record) in reader.deserialize().take(BATCH).enumerate() {
                    batch.push(record_of(next(position), record)?);
                }
            }
            From::Lines(lines) => {
                for line in lines.take(BATCH) {
                    batch.push(object(serde_json::from_slice(&line?)));
                }
            }
            From::Array(rows) => {
                for row in rows.take(BATCH) {
                    batch.push(object(serde_json::from_value(row)));
                }
            }
            From::Postgres(foreign) => {
                for row in foreign.next().await? {
                    batch.push(object(serde_json::from_str(&row)));
                }
            }
        }
        self.count = self.count.saturating_add(batch.len() as u64);
        Ok(batch
            .into_iter()
            .enumerate()
            .map(|(position, fields)| Row {
                number: next(position),
                fields,
            })
            .collect())
    }
}

type Fields = Result<Map<String, Value>, String>;

fn object(parsed: Result<Map<String, Value>, serde_json::Error>) -> Fields {
    // The parser's own words may repeat what it read, a secret perhaps.
    parsed.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        if line == 0 {
            return "it is no JSON object".to_owned();
        }
        format!("it is no JSON object (line {line} of it, column {column})")
    })
}

/// A record that has not as many fields as the first line, or is no text, is a row that is refused; the
/// reader goes on behind it. Where the file itself cannot be read, nothing goes on.
fn record_of(
    row: u64,
    record: Result<std::collections::BTreeMap<String, String>, csv::Error>,
) -> Result<Fields, Error> {
    let error = match record {
        Ok(fields) => {
            let fields = fields.into_iter().map(|(name, text)| (name, text.into()));
            return Ok(Ok(fields.collect()));
        }
        Err(error) => error,
    };
    if let csv::ErrorKind::UnequalLengths {
        expected_len, len, ..
    } = error.kind()
    {
        return Ok(Err(format!(
            "it has {len} fields where the first line names {expected_len}"
        )));
    }
    if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) {
        return Ok(Err("it is no UTF-8".to_owned()));
    }
    Err(malformed(row, &error))
}

fn malformed(row: u64, error: &dyn std::fmt::Display) -> Error {
    Error::Malformed {
        row,
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut rows: Rows) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        loop {
            let batch = rows.next().await.unwrap();
            if batch.is_empty() {
                return all;
            }
            for row in batch {
                all.push((row.number, row.required("id").unwrap()));
            }
        }
    }

    #[tokio::test]
    async fn every_format_gives_the_same_rows_numbered_from_one() {
        let expected: Vec<(u64, String)> = (1..=1234).map(|n| (n, format!("user {n}"))).collect();
        let ids = |wrap: &dyn Fn(u64) -> String| (1..=1234).map(wrap).collect::<Vec<_>>();
        let csv = format!(
            "id,note\n{}",
            ids(&|n| format!("user {n},\"a, b\"\n")).concat()
        );
        let lines = ids(&|n| format!("{{\"id\":\"user {n}\"}}"));
        let array = format!("[{}]", lines.join(","));
        let lines = lines.join("\n");
        let input = |text: String| std::io::Cursor::new(text.into_bytes());
        assert_eq!(all(Rows::csv(Box::new(input(csv)))).await, expected);
        assert_eq!(
            all(Rows::json_lines(Box::new(input(lines)))).await,
            expected
        );
        assert_eq!(
            all(Rows::json(Box::new(input(array))).unwrap()).await,
            expected
        );
    }

    #[tokio::test]
    async fn what_is_no_row_is_told_without_repeating_it_and_the_rest_goes_on() {
        let input = |text: &'static str| std::io::Cursor::new(text.as_bytes());
        let lines = "{\"id\":1}\n[\"hunter2\"]\n{\"id\":\n{\"id\":4}\n";
        let array = "[{\"id\":1}, [\"hunter2\"], \"hunter2\", {\"id\":4}]";
        let csv = "id,note\n1,a\nhunter2\nhunter2,b,c\n4,d\n";
        for mut rows in [
            Rows::json_lines(Box::new(input(lines))),
            Rows::json(Box::new(input(array))).unwrap(),
            Rows::csv(Box::new(input(csv))),
        ] {
            let batch = rows.next().await.unwrap();
            let told: Vec<_> = batch.iter().map(|row| row.required("id")).collect();
            assert_eq!(
                (told[0].clone(), told[3].clone()),
                (Ok("1".to_owned()), Ok("4".to_owned()))
            );
            for (number, row) in [(2, &batch[1]), (3, &batch[2])] {
                let reason = row.required("id").unwrap_err();
                assert!(
                    !reason.contains("hunter2") && row.number == number,
                    "{reason}"
                );
                assert!(row.check_columns(&["id", "note"], &[]).is_ok());
            }
        }
    }
}
