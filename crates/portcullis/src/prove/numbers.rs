//! OWASP ASVS 5.0 by number: each requirement of that standard with its level, who answers it, and a few words of
//! our own on what is left to others, or why nobody is asked. Its own text is not here: it has another licence.
//!
//! Which id answers a number stands in `requirement.rs`. A test holds the two against each other, so that a number
//! is answered by an id or says why it is not, and none is missing.
//!
//! - [`Who::Gate`] only where a probe shows all of what is asked, for whatever passes the gate; [`Who::Part`] where
//!   it shows some of it. A control that no probe tries is [`Who::Untried`], however good its tests.
//! - Documents are the team's to write: the policy is where they begin, and no probe reads them.

use super::requirement::Id;

/// Who answers a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The gate, by the ids that name the number.
    Gate,
    /// The gate for a part, by the ids that name it. The note says what they do not show.
    Part,
    /// A control is here, and no id tries it. The note says which.
    Untried,
    /// The product or the team behind it: a gate cannot see it. The note says what it is about.
    Product,
    /// It asks for something that the gate could have, and has not. The note says what.
    Nobody,
    /// It asks about something that is not here at all. The note says what.
    Outside,
}

/// One requirement of the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    /// Chapter, section and requirement, such as `6.2.1`.
    pub(crate) text: &'static str,
    /// 1 to 3: for which products the standard asks it.
    pub(crate) level: u8,
    pub(crate) who: Who,
    /// In our words; empty for [`Who::Gate`] alone.
    pub(crate) note: &'static str,
}

impl Number {
    /// The ids that answer it, or a part of it.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> {
        let named = |id: &Id| id.asvs().contains(&self.text);
        Id::ALL.iter().copied().filter(named)
    }

    /// Such as `6.2`.
    pub(crate) fn section(&self) -> &'static str {
        self.text
            .rsplit_once('.')
            .map_or(self.text, |(section, _)| section)
    }

    /// Such as `6`.
    pub(crate) fn chapter(&self) -> &'static str {
        self.text
            .split_once('.')
            .map_or(self.text, |(chapter, _)| chapter)
    }
}

/// The requirement of this number.
pub(crate) fn find(text: &str) -> Option<&'static Number> {
    ALL.iter().find(|number| number.text == text)
}

/// The standard's chapters in its order, by what they are about.
pub(crate) const CHAPTERS: [&str; 17] = [
    "What is decoded, encoded and parsed",
    "What is valid, and in which order",
    "Pages in browsers",
    "HTTP and WebSocket",
    "Files",
    "Signing in",
    "Sessions",
    "Who may do what",
    "Signed tokens",
    "Tokens and sign-in of other providers",
    "Cryptography",
    "TLS",
    "Configuration and secrets",
    "Data",
    "Components and code",
    "Logs and errors",
    "Voice and video",
];

macro_rules! numbers {
    ($($text:literal $level:literal $who:ident $note:literal;)*) => {
        /// Every requirement of the standard, in its order.
        pub(crate) const ALL: &[Number] =
            &[$(Number { text: $text, level: $level, who: Who::$who, note: $note }),*];
    };
}

numbers! {
    "1.1.1" 2 Part "what the product decodes once more";
    "1.1.2" 2 Product "what the product encodes where it writes it";
    "1.2.1" 1 Part "the pages, documents and headers that the product writes";
    "1.2.2" 1 Product "addresses that the product builds, and their schemes";
    "1.2.3" 1 Product "scripts and JSON that the product puts together";
    "1.2.4" 1 Part "the product's own statements";
    "1.2.5" 1 Product "commands of the operating system";
    "1.2.6" 2 Product "questions to a directory, where it asks one";
    "1.2.7" 2 Product "XPath, where it is used";
    "1.2.8" 2 Product "documents set by LaTeX, where it does that";
    "1.2.9" 2 Product "regular expressions put together from input";
    "1.2.10" 3 Product "tables that are exported";
    "1.3.1" 1 Product "HTML that people write";
    "1.3.2" 1 Product "code that is made from input and run";
    "1.3.3" 2 Product "input on its way to where it is dangerous";
    "1.3.4" 2 Product "SVG, where the product takes it by another way than a route with `upload`";
    "1.3.5" 2 Product "templates and markup that people write";
    "1.3.6" 2 Untried "calls of the gate to addresses that others name reach public ones alone; the product's own calls are its own";
    "1.3.7" 2 Product "templates that are made from input";
    "1.3.8" 2 Product "JNDI, where it is used";
    "1.3.9" 2 Product "what is sent to memcache, where it is used";
    "1.3.10" 2 Product "format strings";
    "1.3.11" 2 Product "letters that the product sends";
    "1.3.12" 3 Product "regular expressions that run for long";
    "1.4.1" 2 Product "memory, in languages that leave it to the author; the gate has no `unsafe` of its own";
    "1.4.2" 2 Product "numbers that run over";
    "1.4.3" 2 Product "memory and handles that are given back";
    "1.5.1" 1 Product "XML that the product reads";
    "1.5.2" 2 Part "what the product reads back into objects";
    "1.5.3" 3 Part "parsers that only the product has";
    "2.1.1" 1 Product "a document of the team's: which input is valid";
    "2.1.2" 2 Product "a document of the team's: which values belong together";
    "2.1.3" 2 Product "a document of the team's: limits of the business";
    "2.2.1" 1 Part "input that no route holds against a description (`schema = true`)";
    "2.2.2" 1 Part "what the product checks by itself";
    "2.2.3" 2 Product "values that belong together";
    "2.3.1" 1 Product "steps in their order";
    "2.3.2" 2 Part "limits that only the product can count";
    "2.3.3" 2 Product "all of an operation or nothing";
    "2.3.4" 2 Product "what there is only so much of";
    "2.3.5" 3 Product "what two people have to agree to";
    "2.4.1" 2 Gate "";
    "2.4.2" 3 Product "steps that are faster than people";
    "3.1.1" 3 Product "a document of the team's: what browsers have to be able to";
    "3.2.1" 1 Untried "files that the gate keeps go out as downloads that run nothing; other answers are the product's";
    "3.2.2" 1 Product "text that scripts of the product show";
    "3.2.3" 3 Product "names that scripts of the product share with the page";
    "3.3.1" 1 Part "cookies of the product, and the prefix of the session's in their name";
    "3.3.2" 2 Part "cookies of the product";
    "3.3.3" 2 Untried "the session is `__Host-` in production unless `[sessions] cookie` has another name; cookies of the product are its own";
    "3.3.4" 2 Part "cookies of the product";
    "3.3.5" 3 Product "long cookies";
    "3.4.1" 1 Part "that it is a year or longer: the probe asks for half of one";
    "3.4.2" 1 Gate "";
    "3.4.3" 2 Part "`object-src` and `base-uri`, which are sent as configured";
    "3.4.4" 2 Gate "";
    "3.4.5" 2 Gate "";
    "3.4.6" 2 Gate "";
    "3.4.7" 3 Nobody "no violation is reported unless `[headers] csp` names where to";
    "3.4.8" 3 Untried "`Cross-Origin-Opener-Policy` goes out with every answer";
    "3.5.1" 1 Gate "";
    "3.5.2" 1 Gate "";
    "3.5.3" 1 Product "which methods change something";
    "3.5.4" 2 Product "which products share a host name";
    "3.5.5" 2 Part "messages between pages of the product";
    "3.5.6" 3 Product "JSONP";
    "3.5.7" 3 Product "private data in scripts";
    "3.5.8" 3 Untried "`Cross-Origin-Resource-Policy` goes out with every answer";
    "3.6.1" 3 Product "scripts and styles from elsewhere";
    "3.7.1" 2 Product "techniques that browsers have given up";
    "3.7.2" 2 Untried "after signing in nobody is led to another host; other redirects are the product's";
    "3.7.3" 3 Product "a word before people leave";
    "3.7.4" 3 Product "the list of hosts that browsers keep, which the owner of the name joins";
    "3.7.5" 3 Product "browsers that are too old";
    "4.1.1" 1 Product "the kind of what the product answers";
    "4.1.2" 2 Untried "over plain HTTP reads of known hosts are redirected, and everything else is refused";
    "4.1.3" 2 Gate "";
    "4.1.4" 3 Untried "another method than those of a route is answered 405";
    "4.1.5" 3 Part "messages other than webhooks";
    "4.2.1" 2 Part "HTTP/2, which the probe does not speak, and servers behind the product";
    "4.2.2" 3 Untried "what the gate sends on is framed anew";
    "4.2.3" 3 Untried "HTTP/2 with headers of a connection is refused";
    "4.2.4" 3 Untried "HTTP/2 with line ends in a header is refused";
    "4.2.5" 3 Product "how long what the product sends may get";
    "4.3.1" 2 Product "GraphQL, where it is spoken";
    "4.3.2" 2 Product "GraphQL that describes itself";
    "4.4.1" 1 Untried "a WebSocket begins on the listener that speaks TLS, as every request";
    "4.4.2" 2 Untried "a WebSocket begins on the product's own pages alone";
    "4.4.3" 2 Untried "a WebSocket is opened by the session, or by a token as any request";
    "4.4.4" 2 Untried "a WebSocket is opened by the session, and ends with it";
    "5.1.1" 2 Product "a document of the team's; `types` and `max-size` of a route are its beginning";
    "5.2.1" 1 Part "files on routes without `upload`";
    "5.2.2" 1 Part "files inside of archives, and on routes without `upload`";
    "5.2.3" 2 Untried "zip files, documents and pictures are measured before they are unpacked";
    "5.2.4" 3 Nobody "how much one person keeps in all is not limited, only how often they upload";
    "5.2.5" 3 Untried "links in a zip file are refused";
    "5.2.6" 3 Untried "pictures of more than 100 million pixels are refused";
    "5.3.1" 1 Part "files that the product keeps itself";
    "5.3.2" 1 Part "paths that the product makes";
    "5.3.3" 3 Product "what the product unpacks";
    "5.4.1" 2 Part "names under which files go out again";
    "5.4.2" 2 Untried "names of files that the gate keeps are encoded when they go out";
    "5.4.3" 2 Part "files on routes without `upload`";
    "6.1.1" 1 Product "a document of the team's; `[limits.auth]` and `[passwords]` are its beginning";
    "6.1.2" 2 Product "a document of the team's; `[passwords] context-words` is its beginning";
    "6.1.3" 2 Product "a document of the team's: every way to sign in";
    "6.2.1" 1 Untried "`[passwords] min-length` is 15, and never below 8";
    "6.2.2" 1 Untried "a page and a call change the password";
    "6.2.3" 1 Gate "";
    "6.2.4" 1 Untried "what is made of words that everybody tries is refused; there is no list of thousands";
    "6.2.5" 1 Untried "there are no rules about kinds of characters";
    "6.2.6" 1 Untried "the gate's pages mask what is typed; pages of the product are its own";
    "6.2.7" 1 Untried "the gate's pages let passwords be pasted; pages of the product are its own";
    "6.2.8" 1 Untried "nothing is cut off or changed";
    "6.2.9" 2 Untried "long passwords are taken";
    "6.2.10" 2 Untried "passwords do not expire";
    "6.2.11" 2 Untried "`[passwords] context-words` and the address make no password";
    "6.2.12" 2 Nobody "no list of breached passwords is asked";
    "6.3.1" 1 Gate "";
    "6.3.2" 1 Untried "the gate makes no account that nobody asked for";
    "6.3.3" 2 Part "people of roles that `[mfa] required-for` does not name";
    "6.3.4" 2 Untried "every way to sign in ends in the same checks";
    "6.3.5" 3 Untried "the owner is told of a session that turned up elsewhere";
    "6.3.6" 3 Untried "letters set a new password and open no session";
    "6.3.7" 3 Untried "the owner is told when a factor changes";
    "6.3.8" 3 Untried "an unknown address and a wrong password are answered alike";
    "6.4.1" 1 Untried "one-time passwords and links are random, and links end";
    "6.4.2" 1 Untried "there are no hints and no secret questions";
    "6.4.3" 2 Part "that a second factor stays through a reset";
    "6.4.4" 2 Product "how people are known again who lost a factor";
    "6.4.5" 3 Nobody "nobody is reminded before a factor ends";
    "6.4.6" 3 Nobody "an administrator can send a link, and can also make a one-time password and then knows it";
    "6.5.1" 2 Untried "a code counts once on every node";
    "6.5.2" 2 Untried "recovery codes are kept as hashes";
    "6.5.3" 2 Untried "codes and secrets come from the cryptographic library";
    "6.5.4" 2 Untried "recovery codes have more than that";
    "6.5.5" 2 Untried "codes and links end";
    "6.5.6" 3 Untried "each factor can be taken away";
    "6.5.7" 3 Untried "a finger or a face counts on a device that one has";
    "6.5.8" 3 Untried "codes are compared by the gate's own clock";
    "6.6.1" 2 Outside "no letter or message is a factor here";
    "6.6.2" 2 Outside "no letter or message is a factor here";
    "6.6.3" 2 Outside "no letter or message is a factor here";
    "6.6.4" 3 Outside "no notice on a telephone is a factor here";
    "6.7.1" 3 Untried "public keys of passkeys lie in the gate's own database";
    "6.7.2" 3 Untried "challenges of passkeys are random and used once";
    "6.8.1" 2 Untried "people of a provider are known by provider and subject";
    "6.8.2" 2 Gate "";
    "6.8.3" 2 Outside "SAML is not spoken here";
    "6.8.4" 2 Untried "the strength and the time of a provider's sign-in count as `[issuer.NAME]` says";
    "7.1.1" 2 Product "a document of the team's; `[sessions]` is its beginning";
    "7.1.2" 2 Product "a document of the team's; `[sessions] max-per-user` is its beginning";
    "7.1.3" 2 Product "a document of the team's: sessions of other providers";
    "7.2.1" 1 Gate "";
    "7.2.2" 1 Gate "";
    "7.2.3" 1 Untried "a session's token is 256 random bits";
    "7.2.4" 1 Gate "";
    "7.3.1" 2 Gate "";
    "7.3.2" 2 Part "sessions of people, which no probe makes older than `[sessions] lifetime`";
    "7.4.1" 1 Gate "";
    "7.4.2" 1 Part "accounts that are switched off, which the probe does not do";
    "7.4.3" 2 Untried "a new password ends all other sessions";
    "7.4.4" 2 Product "the button to sign out";
    "7.4.5" 2 Gate "";
    "7.5.1" 2 Untried "factors are changed after a recent sign-in alone";
    "7.5.2" 2 Untried "people see and end their sessions";
    "7.5.3" 3 Untried "a route can ask for a recent sign-in and a second factor (`max-age`, `mfa`)";
    "7.6.1" 2 Untried "a session is as old as the provider says, and a route can ask for a recent one";
    "7.6.2" 2 Untried "a sign-in that began nowhere, or on another page, opens no session";
    "8.1.1" 1 Part "which record belongs to whom inside of the product";
    "8.1.2" 2 Product "a document of the team's: single fields";
    "8.1.3" 3 Product "a document of the team's: device, place and time";
    "8.1.4" 3 Product "a document of the team's: what follows from device, place and time";
    "8.2.1" 1 Part "what a caller may do inside of one route";
    "8.2.2" 1 Part "records whose owner or tenant no path names";
    "8.2.3" 2 Product "single fields of a record";
    "8.2.4" 3 Part "places and times: they raise alerts and decide nothing";
    "8.3.1" 1 Gate "";
    "8.3.2" 3 Gate "";
    "8.3.3" 3 Part "services behind the product";
    "8.4.1" 2 Part "rows that the product reads by itself";
    "8.4.2" 3 Nobody "devices of administrators are not looked at";
    "9.1.1" 1 Gate "";
    "9.1.2" 1 Part "algorithms other than none and a published key as a secret";
    "9.1.3" 1 Untried "keys come from the gate and from the providers that are named";
    "9.2.1" 1 Part "the gate's own tokens of a time to come, which it never makes";
    "9.2.2" 2 Part "kinds of tokens of other providers";
    "9.2.3" 2 Gate "";
    "9.2.4" 2 Part "that two upstreams have two names, which is the policy's";
    "10.1.1" 2 Part "bearer tokens on their way to the product";
    "10.1.2" 2 Untried "a sign-in at a provider is bound to the browser that began it";
    "10.2.1" 2 Untried "PKCE and `state` are sent and wanted";
    "10.2.2" 2 Untried "the answer's `iss` is compared before the code goes anywhere";
    "10.2.3" 3 Untried "the scopes are those of the configuration";
    "10.3.1" 2 Gate "";
    "10.3.2" 2 Part "claims other than the address";
    "10.3.3" 2 Part "two providers with one subject";
    "10.3.4" 2 Untried "a route can ask for what a token says of factors and time";
    "10.3.5" 3 Nobody "tokens are not bound to a key of the client";
    "10.4.1" 1 Outside "the gate is no authorization server for programs of others";
    "10.4.2" 1 Outside "the gate is no authorization server for programs of others";
    "10.4.3" 1 Outside "the gate is no authorization server for programs of others";
    "10.4.4" 1 Outside "the gate is no authorization server for programs of others";
    "10.4.5" 1 Gate "";
    "10.4.6" 2 Outside "the gate is no authorization server for programs of others";
    "10.4.7" 2 Outside "the gate is no authorization server for programs of others";
    "10.4.8" 2 Untried "a sign-in for tokens ends after `[tokens] refresh-lifetime`";
    "10.4.9" 2 Untried "clients with tokens are listed and ended as sessions are";
    "10.4.10" 2 Outside "the gate is no authorization server for programs of others";
    "10.4.11" 2 Outside "the gate is no authorization server for programs of others";
    "10.4.12" 3 Outside "the gate is no authorization server for programs of others";
    "10.4.13" 3 Outside "the gate is no authorization server for programs of others";
    "10.4.14" 3 Outside "the gate is no authorization server for programs of others";
    "10.4.15" 3 Outside "the gate is no authorization server for programs of others";
    "10.4.16" 3 Outside "the gate is no authorization server for programs of others";
    "10.5.1" 2 Untried "the nonce of a sign-in has to come back";
    "10.5.2" 2 Untried "people of a provider are known by provider and subject";
    "10.5.3" 2 Untried "a provider's own document has to name the issuer that was configured";
    "10.5.4" 2 Untried "an identity token has to be for `client-id`";
    "10.5.5" 2 Outside "a provider's sign-out is not taken, so that nobody can force one";
    "10.6.1" 2 Outside "the gate is no provider";
    "10.6.2" 2 Outside "the gate is no provider";
    "10.7.1" 2 Outside "the gate is no provider";
    "10.7.2" 2 Outside "the gate is no provider";
    "10.7.3" 2 Outside "the gate is no provider";
    "11.1.1" 2 Part "the written policy, and keys of the product";
    "11.1.2" 2 Product "a list of keys, algorithms and certificates";
    "11.1.3" 3 Product "a search for cryptography";
    "11.1.4" 3 Product "a plan for other algorithms";
    "11.2.1" 2 Untried "cryptography is that of libraries";
    "11.2.2" 2 Part "other algorithms, and cryptography of the product";
    "11.2.3" 2 Part "algorithms, and keys of the product";
    "11.2.4" 3 Untried "secrets are compared in constant time";
    "11.2.5" 3 Part "cryptography of the product";
    "11.3.1" 1 Part "cryptography of the product";
    "11.3.2" 1 Untried "fields are sealed with AES-256-GCM, which no answer shows";
    "11.3.3" 2 Part "cryptography of the product";
    "11.3.4" 3 Part "cryptography of the product";
    "11.3.5" 3 Outside "nothing here joins a cipher and a code of its own";
    "11.4.1" 1 Untried "hashes are SHA-2, argon2id and, for those brought along, bcrypt";
    "11.4.2" 2 Part "the parameters, which the probe names and does not judge";
    "11.4.3" 2 Part "signatures, and hashes of the product";
    "11.4.4" 2 Outside "no key is made from a password";
    "11.5.1" 2 Part "what the gate and the product draw at random";
    "11.5.2" 3 Untried "random bits come from the system and the processor";
    "11.6.1" 2 Untried "signing keys are Ed25519, made by the library";
    "11.6.2" 3 Untried "keys are agreed on as TLS does it";
    "11.7.1" 3 Outside "memory is the machine's";
    "11.7.2" 3 Untried "secrets are wiped when they are let go";
    "12.1.1" 1 Part "which version is preferred, and a proxy in front that does TLS";
    "12.1.2" 2 Untried "suites are those of the library, all with forward secrecy";
    "12.1.3" 2 Outside "certificates of clients are not asked for";
    "12.1.4" 3 Nobody "no proof of revocation goes along with the certificate";
    "12.1.5" 3 Outside "the library cannot hide the name yet";
    "12.2.1" 1 Part "a proxy in front that does TLS";
    "12.2.2" 1 Product "the certificate, and who signed it";
    "12.3.1" 2 Part "what the product speaks to, and how the machine is administered";
    "12.3.2" 2 Untried "a wrong certificate of a product or a mail server is refused, and of a database unless its address says `sslmode=require`";
    "12.3.3" 2 Part "products on networks of one's own";
    "12.3.4" 2 Untried "a product's own authority is named by `ca`, and no other counts";
    "12.3.5" 3 Part "the product, which has to verify who calls";
    "13.1.1" 2 Product "a document of the team's; the policy has what the gate speaks to";
    "13.1.2" 3 Product "a document of the team's; `[state]` has the gate's figures";
    "13.1.3" 3 Product "a document of the team's; docs/failure.md is the gate's part";
    "13.1.4" 3 Product "a document of the team's; `[secret-store] alert-after` is its beginning";
    "13.2.1" 2 Part "services behind the product";
    "13.2.2" 2 Part "accounts of the product";
    "13.2.3" 2 Product "passwords of databases and services";
    "13.2.4" 2 Untried "the gate speaks to what its policy names; the product's calls are its own";
    "13.2.5" 2 Untried "the gate speaks to what its policy names; the product's calls are its own";
    "13.2.6" 3 Part "connections other than those to the database";
    "13.3.1" 2 Part "what the product's code and images have in them";
    "13.3.2" 2 Part "secrets that the gate does not keep";
    "13.3.3" 3 Untried "`[kek]` lies in a service of its own, where there is one";
    "13.3.4" 3 Part "secrets that the gate does not keep";
    "13.4.1" 1 Product "what lies beside the product's files";
    "13.4.2" 2 Product "debugging of the product";
    "13.4.3" 2 Product "lists of the product's folders";
    "13.4.4" 2 Untried "TRACE is refused before anything reads it";
    "13.4.5" 2 Part "descriptions and figures of the product";
    "13.4.6" 3 Part "versions in the product's own pages";
    "13.4.7" 3 Product "files that the product gives out";
    "14.1.1" 2 Part "fields that nobody wrote down";
    "14.1.2" 2 Part "fields that nobody wrote down";
    "14.2.1" 1 Product "addresses of the product";
    "14.2.2" 2 Product "caches of the product; the gate keeps no answer";
    "14.2.3" 2 Part "what the product sends to others";
    "14.2.4" 2 Part "fields that the product does not have sealed";
    "14.2.5" 3 Product "caches in front of the gate";
    "14.2.6" 3 Part "answers of the product";
    "14.2.7" 3 Part "rows of the product";
    "14.2.8" 3 Nobody "what is in a file beside its content stays there";
    "14.3.1" 1 Part "what the product keeps in a browser";
    "14.3.2" 2 Untried "answers of the gate itself are not kept; those of the product are its own";
    "14.3.3" 2 Product "what the product keeps in a browser";
    "15.1.1" 1 Product "a document of the team's; `[[scan]]` is its beginning";
    "15.1.2" 2 Part "components of the product";
    "15.1.3" 2 Product "a document of the team's: what takes long";
    "15.1.4" 3 Product "a document of the team's: components to be careful with";
    "15.1.5" 3 Product "a document of the team's: what is dangerous";
    "15.2.1" 1 Part "components that no scan of the policy covers";
    "15.2.2" 2 Part "what takes long inside of the product";
    "15.2.3" 2 Product "what a release has in it";
    "15.2.4" 3 Part "components of the product";
    "15.2.5" 3 Part "the product's own walls";
    "15.3.1" 1 Product "which fields an answer has";
    "15.3.2" 2 Untried "the gate follows no redirect; the product's calls are its own";
    "15.3.3" 2 Part "fields that the product takes";
    "15.3.4" 2 Part "the address that the product is told";
    "15.3.5" 2 Part "comparisons in the product";
    "15.3.6" 2 Product "objects of scripts";
    "15.3.7" 2 Part "parameters that the product reads";
    "15.4.1" 3 Product "what threads of the product share";
    "15.4.2" 3 Product "looking and doing in one step";
    "15.4.3" 3 Product "locks of the product";
    "15.4.4" 3 Product "threads of the product";
    "16.1.1" 2 Product "a document of the team's: what is logged, where, for how long";
    "16.2.1" 2 Part "logs of the product";
    "16.2.2" 2 Product "clocks of the machines; the gate writes UTC";
    "16.2.3" 2 Product "where logs go";
    "16.2.4" 2 Part "logs of the product";
    "16.2.5" 2 Part "logs of the product";
    "16.3.1" 2 Part "second factors, and other ways to sign in";
    "16.3.2" 2 Part "requests that were refused: they are on record, and no probe looks";
    "16.3.3" 2 Part "refusals other than by limits, and events of the product";
    "16.3.4" 2 Part "errors below 500, and those of the product";
    "16.4.1" 2 Part "logs of the product";
    "16.4.2" 2 Part "logs, which lie where the machine keeps them";
    "16.4.3" 2 Product "the way of logs to another machine";
    "16.5.1" 2 Part "errors that the product writes itself";
    "16.5.2" 2 Part "a database or Redis that is away";
    "16.5.3" 2 Untried "an error on any way is a refusal";
    "16.5.4" 3 Untried "a panic is one answer of 500, and the gate goes on";
    "17.1.1" 2 Product "calls by voice and video, where there are any";
    "17.1.2" 3 Product "calls by voice and video, where there are any";
    "17.2.1" 2 Product "calls by voice and video, where there are any";
    "17.2.2" 2 Product "calls by voice and video, where there are any";
    "17.2.3" 2 Product "calls by voice and video, where there are any";
    "17.2.4" 2 Product "calls by voice and video, where there are any";
    "17.2.5" 3 Product "calls by voice and video, where there are any";
    "17.2.6" 3 Product "calls by voice and video, where there are any";
    "17.2.7" 3 Product "calls by voice and video, where there are any";
    "17.2.8" 3 Product "calls by voice and video, where there are any";
    "17.3.1" 2 Product "calls by voice and video, where there are any";
    "17.3.2" 2 Product "calls by voice and video, where there are any";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_that_an_id_names_is_in_the_table_once_and_in_order() {
        for id in Id::ALL {
            for text in id.asvs() {
                let found = ALL.iter().filter(|number| number.text == *text).count();
                assert_eq!(found, 1, "{id} names {text}");
            }
            let places = id.asvs().iter().map(|text| place(text));
            assert!(places.is_sorted_by(|one, next| one < next), "{id}");
        }
        let places = ALL.iter().map(|number| place(number.text));
        assert!(places.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn every_number_is_answered_by_an_id_or_says_why_not() {
        for number in ALL {
            let is_answered = number.ids().next().is_some();
            match number.who {
                Who::Gate => assert!(is_answered && number.note.is_empty(), "{}", number.text),
                Who::Part => assert!(is_answered && !number.note.is_empty(), "{}", number.text),
                Who::Untried | Who::Product | Who::Nobody | Who::Outside => {
                    assert!(!is_answered && !number.note.is_empty(), "{}", number.text);
                }
            }
        }
    }

    // How many there are of each level, and how many in each chapter, is what the standard says of itself.
    #[test]
    fn the_table_is_as_long_as_the_standard() {
        let of_level = |level| ALL.iter().filter(|number| number.level == level).count();
        assert_eq!([1, 2, 3].map(of_level), [70, 183, 92]);
        let of_chapter = |chapter: usize| {
            let chapter = (chapter + 1).to_string();
            let of_it = ALL.iter().filter(|number| number.chapter() == chapter);
            of_it.count()
        };
        let counted: Vec<usize> = (0..CHAPTERS.len()).map(of_chapter).collect();
        assert_eq!(
            counted,
            [
                30, 13, 31, 16, 13, 47, 19, 13, 7, 36, 24, 12, 21, 13, 21, 17, 12
            ]
        );
        assert_eq!(counted.iter().sum::<usize>(), ALL.len());
    }

    fn place(text: &str) -> [u32; 3] {
        let parts: Vec<u32> = text.split('.').map(|part| part.parse().unwrap()).collect();
        parts.try_into().unwrap()
    }
}
