//! A session that turns up in another client than its own: whoever presents it there is nobody.

use std::net::IpAddr;

use http::HeaderMap;
use portcullis_core::{Principal, RequestId};
use portcullis_identity::Client;
use portcullis_identity::sessions::Stranger;

use crate::credentials::Caller;
use crate::lane::Lane;

impl Lane {
    /// The stranger that presents somebody's session, if it is one. Never waits.
    pub(crate) fn stranger(&self, caller: &Caller, headers: &HeaderMap) -> Option<Stranger> {
        self.gate
            .sessions
            .stranger(&caller.proof.session()?, headers)
    }

    /// Records it, tells the session's owner, ends the session where that is the policy; and makes
    /// nobody of the caller, whatever became of the rest.
    pub(crate) async fn turn_away(
        &self,
        caller: Caller,
        stranger: Stranger,
        address: IpAddr,
        request: RequestId,
    ) -> Caller {
        if let Principal::User(user) = caller.principal
            && let Some(session) = user.session()
        {
            let accounts = self.gate.accounts.clone();
            let client = Client {
                address: Some(address),
                request: Some(request),
                ..Client::default()
            };
            let report = async move {
                accounts
                    .turned_up_elsewhere(&user, session, &stranger, &client)
                    .await
            };
            let reported = self.on_back(report).await;
            let fault = match reported {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(problem) => Some(format!("{problem:?}")),
            };
            if let Some(fault) = fault {
                tracing::warn!(%fault, request_id = %request, "a session in another client was refused, but not recorded");
            }
        }
        Caller::nobody(true)
    }
}
