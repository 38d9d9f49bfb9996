//! Who is calling: users, passwords, sessions and the auth API.
