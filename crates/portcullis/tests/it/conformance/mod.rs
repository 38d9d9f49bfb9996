//! What standards demand of the gate, one test per MUST.

mod rfc9112;
