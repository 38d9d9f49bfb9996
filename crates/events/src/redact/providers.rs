//! Keys that say what they are by how they begin. One row per form; each has its test.

/// What a key is made of behind its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Letters and digits.
    Alnum,
    /// Letters, digits, `-` and `_`.
    Word,
    /// As [`Made::Word`], and `.`.
    Dotted,
    /// As [`Made::Dotted`], and `/`, `+`, `=`.
    Base64,
    /// Hexadecimal digits in lower case.
    Hex,
}

impl Made {
    pub(super) const fn of(self) -> fn(u8) -> bool {
        match self {
            Made::Alnum => |byte| byte.is_ascii_alphanumeric(),
            Made::Word => |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Made::Dotted => {
                |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
            }
            Made::Base64 => |byte| {
                byte.is_ascii_alphanumeric()
                    || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'+' | b'=')
            },
            Made::Hex => |byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'),
        }
    }

    /// As a set of a regular expression.
    pub const fn as_set(self) -> &'static str {
        match self {
            Made::Alnum => "[A-Za-z0-9]",
            Made::Word => "[A-Za-z0-9_-]",
            Made::Dotted => "[A-Za-z0-9_.-]",
            Made::Base64 => "[A-Za-z0-9_./+=-]",
            Made::Hex => "[0-9a-f]",
        }
    }
}

/// How one kind of key looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provider {
    pub name: &'static str,
    /// In this very case.
    pub prefix: &'static str,
    pub made: Made,
    /// So much has to follow, or it is a word that happens to begin so.
    pub least: usize,
}

const fn row(name: &'static str, prefix: &'static str, made: Made, least: usize) -> Provider {
    Provider {
        name,
        prefix,
        made,
        least,
    }
}

use Made::{Alnum, Base64, Dotted, Hex, Word};

/// Every form that is known. Where forms share a beginning, the longest that fits is taken.
pub static PROVIDERS: &[Provider] = &[
    // Ours (`keys.prefix`), as it is by default.
    row("portcullis", "pck_", Alnum, 40),
    // Models
    row("openai", "sk-", Word, 16),
    row("openai", "sk-proj-", Word, 8),
    row("openai", "sk-svcacct-", Word, 8),
    row("openai", "sk-admin-", Word, 8),
    row("anthropic", "sk-ant-", Word, 8),
    row("openrouter", "sk-or-v1-", Hex, 32),
    row("groq", "gsk_", Alnum, 32),
    row("xai", "xai-", Alnum, 32),
    row("perplexity", "pplx-", Alnum, 32),
    row("replicate", "r8_", Alnum, 30),
    row("hugging-face", "hf_", Alnum, 30),
    row("hugging-face", "api_org_", Alnum, 30),
    // Clouds
    row("aws", "AKIA", Alnum, 12),
    row("aws", "ASIA", Alnum, 12),
    row("aws", "ABIA", Alnum, 16),
    row("aws", "ACCA", Alnum, 16),
    row("aws-bedrock", "ABSK", Base64, 40),
    row("google", "AIza", Word, 16),
    row("google-oauth", "ya29.", Dotted, 20),
    row("google-oauth", "GOCSPX-", Word, 20),
    row("digitalocean", "dop_v1_", Hex, 32),
    row("digitalocean", "doo_v1_", Hex, 32),
    row("digitalocean", "dor_v1_", Hex, 32),
    row("alibaba", "LTAI", Alnum, 16),
    row("heroku", "HRKU-", Word, 32),
    row("fly", "fm2_", Base64, 40),
    row("planetscale", "pscale_tkn_", Dotted, 32),
    row("planetscale", "pscale_pw_", Dotted, 32),
    row("databricks", "dapi", Hex, 32),
    row("supabase", "sbp_", Alnum, 16),
    row("supabase", "sb_secret_", Word, 8),
    row("vault", "hvs.", Word, 20),
    row("vault", "hvb.", Word, 20),
    row("doppler", "dp.st.", Dotted, 24),
    row("doppler", "dp.pt.", Dotted, 24),
    row("doppler", "dp.sa.", Dotted, 24),
    row("tailscale", "tskey-", Word, 16),
    row("age", "AGE-SECRET-KEY-1", Alnum, 40),
    // Code
    row("github", "ghp_", Alnum, 16),
    row("github", "gho_", Alnum, 16),
    row("github", "ghs_", Alnum, 16),
    row("github", "ghu_", Alnum, 16),
    row("github", "ghr_", Alnum, 16),
    row("github", "github_pat_", Word, 16),
    row("gitlab", "glpat-", Dotted, 12),
    row("gitlab", "gldt-", Word, 16),
    row("gitlab", "glrt-", Word, 16),
    row("gitlab", "glptt-", Word, 16),
    row("gitlab", "glcbt-", Word, 16),
    row("atlassian", "ATATT3", Base64, 40),
    row("npm", "npm_", Alnum, 24),
    row("pypi", "pypi-", Word, 24),
    row("rubygems", "rubygems_", Hex, 32),
    row("crates", "cio", Alnum, 32),
    row("docker", "dckr_pat_", Word, 20),
    row("linear", "lin_api_", Alnum, 32),
    row("postman", "PMAK-", Word, 24),
    row("figma", "figd_", Word, 32),
    // Watching
    row("sentry", "sntrys_", Base64, 24),
    row("sentry", "sntryu_", Hex, 32),
    row("grafana", "glsa_", Word, 32),
    row("grafana", "glc_", Base64, 32),
    row("new-relic", "NRAK-", Alnum, 24),
    // Money
    row("stripe", "sk_live_", Alnum, 8),
    row("stripe", "sk_test_", Alnum, 8),
    row("stripe", "rk_live_", Alnum, 8),
    row("stripe", "rk_test_", Alnum, 8),
    row("webhook-secret", "whsec_", Base64, 8),
    row("square", "sq0atp-", Word, 20),
    row("square", "sq0csp-", Word, 32),
    row("shopify", "shpat_", Alnum, 32),
    row("shopify", "shpca_", Alnum, 32),
    row("shopify", "shppa_", Alnum, 32),
    row("shopify", "shpss_", Alnum, 32),
    // Words to people
    row("slack", "xoxb-", Word, 8),
    row("slack", "xoxp-", Word, 8),
    row("slack", "xoxa-", Word, 8),
    row("slack", "xoxr-", Word, 8),
    row("slack", "xoxs-", Word, 8),
    row("slack", "xoxe-", Word, 8),
    row("slack", "xoxe.", Dotted, 8),
    row("slack", "xapp-", Word, 8),
    row("slack", "hooks.slack.com/services/", Base64, 16),
    row("discord", "discord.com/api/webhooks/", Base64, 16),
    row("telegram", ":AA", Word, 32),
    row("twilio", "SK0", Hex, 31),
    row("twilio", "SK1", Hex, 31),
    row("twilio", "SK2", Hex, 31),
    row("twilio", "SK3", Hex, 31),
    row("twilio", "SK4", Hex, 31),
    row("twilio", "SK5", Hex, 31),
    row("twilio", "SK6", Hex, 31),
    row("twilio", "SK7", Hex, 31),
    row("twilio", "SK8", Hex, 31),
    row("twilio", "SK9", Hex, 31),
    row("twilio", "SKa", Hex, 31),
    row("twilio", "SKb", Hex, 31),
    row("twilio", "SKc", Hex, 31),
    row("twilio", "SKd", Hex, 31),
    row("twilio", "SKe", Hex, 31),
    row("twilio", "SKf", Hex, 31),
    row("sendgrid", "SG.", Dotted, 16),
    row("mailgun", "key-", Hex, 32),
    row("resend", "re_", Word, 24),
    row("brevo", "xkeysib-", Word, 32),
];

impl Provider {
    /// A short prefix is looked for at the beginning of a word alone: `task-force-management` is
    /// no key.
    pub(super) fn is_short(&self) -> bool {
        self.prefix.len() < 6
    }
}
