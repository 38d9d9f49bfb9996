//! OpenAPI documents into route tables.
