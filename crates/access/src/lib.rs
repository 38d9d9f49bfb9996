//! What they may do: the route table, roles, OpenAPI import.
