//! q. Incidents and disclosure.

use super::{b_sessions, c_tokens, d_api_keys, j_secrets};
use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short};

/// N1. No probe opens an incident yet: it is to be filled in here.
pub(super) fn clock(_scene: &Scene) -> Probed {
    Err(Short::not_proven(
        "that people answer within a day is theirs to show; `portcullis incident list` tells what is late, and no probe tries that yet",
    ))
}

/// N2. No probe walks through an incident yet: it is to be filled in here.
pub(super) fn procedure(_scene: &Scene) -> Probed {
    Err(Short::not_proven(
        "`portcullis incident` goes through these phases, and no probe tries that yet; its acts are N3",
    ))
}

/// N3. Each step is probed; `portcullis incident open --contain` does them together.
pub(super) async fn by_command(scene: &Scene) -> Probed {
    b_sessions::revoked(scene).await?;
    d_api_keys::revoked(scene).await?;
    c_tokens::signing_keys(scene).await?;
    let secrets = match j_secrets::procedure(scene).await {
        Ok(_) => "a named secret was rotated",
        Err(Short::NotConfigured { .. }) => "there are no named secrets",
        Err(short) => return Err(short),
    };
    Ok(Held::at(
        Place::Gate,
        format!(
            "once more: sessions ended, a key revoked, signing keys replaced and taken out, {secrets}; to notify people is theirs to do"
        ),
    ))
}

/// N4
pub(super) async fn report_page(scene: &Scene) -> Probed {
    let reply = scene
        .live
        .target
        .get("/.well-known/security.txt")
        .send()
        .await?;
    let text = reply.text();
    if reply.status == 200 && text.contains("Contact:") && text.contains("Expires:") {
        return Ok(Held::at(
            Place::Gate,
            format!(
                "/.well-known/security.txt names {}",
                text.lines()
                    .find(|line| line.starts_with("Contact:"))
                    .unwrap_or_default()
            ),
        ));
    }
    Err(Short::not_proven(format!(
        "/.well-known/security.txt is answered {}: nobody is told how to report (RFC 9116)",
        reply.said()
    )))
}
