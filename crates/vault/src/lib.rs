//! Keys and cryptography: password hashing, tokens, derived keys, signing.
