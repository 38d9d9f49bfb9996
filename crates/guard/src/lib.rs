//! Request protections, one file or folder each.
