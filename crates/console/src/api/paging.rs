//! What a caller says of a page of a list, newest first.

use std::str::FromStr;

use portcullis_core::{Problem, problem};

use super::Failure;

/// No page has more rows.
pub const MOST: u32 = 1000;
const USUAL: u32 = 100;

/// How long the page is.
pub fn limit(asked: Option<u32>) -> Result<u32, Failure> {
    let limit = asked.unwrap_or(USUAL);
    (1..=MOST)
        .contains(&limit)
        .then_some(limit)
        .ok_or_else(no_limit)
}

/// For a query that cannot be read: what else is in it is text.
pub fn no_limit() -> Failure {
    refused("limit", "must be a number from 1 to 1000")
}

/// The id of the row behind which the list goes on.
pub fn after<T: FromStr>(asked: Option<String>) -> Result<Option<T>, Failure> {
    let id = asked.map(|id| id.parse().map_err(|_| unknown()));
    id.transpose()
}

/// For a page behind a row that is not there.
pub fn unknown() -> Failure {
    refused("after", "must be the last of the list before")
}

/// For a part of the query that cannot be.
pub fn refused(field: &'static str, message: &'static str) -> Failure {
    Failure(Problem::new(&problem::INVALID_INPUT).field(field, message))
}
