//! What happened: the audit trail, metrics and the log.
