//! o. Persons whom the product alone knows: what is shown of them (P1), and their end (P2).

use portcullis_core::TenantId;
use portcullis_events::{Action, By};
use portcullis_identity::consents::{New, State, Subject};
use portcullis_identity::privacy::archive;
use portcullis_identity::privacy::subjects::http::{ERASE, EXPORT};
use serde_json::{Value, json};

use super::i_data_keys::{Desk, Sealed};
use super::m_audit::recorded;
use crate::prove::probe::{RELEASED, Short, must};
use crate::prove::rehearsal::{Folder, program};
use crate::prove::world::{World, base};
use crate::verbs::told;

/// Who asks: programs of the product over the wire, or where no role gives that, the operator.
enum Face {
    Wire { of_a: String, of_b: String },
    Operator,
}

/// One person's name in two tenants, each with a consent and, where the vault is there, a sealed field.
struct Customer<'w> {
    w: &'w World,
    face: Face,
    name: String,
    sealed: Option<(Desk<'w>, Sealed, Desk<'w>, Sealed)>,
}

impl<'w> Customer<'w> {
    async fn planted(w: &'w World) -> Result<Self, Short> {
        let name = format!("prove-customer-{}", uuid::Uuid::new_v4().simple());
        let face = if w.gives(EXPORT) && w.gives(ERASE) {
            let of_a = w.key(&[EXPORT, ERASE], Some(&w.a)).await?;
            let of_b = w.key(&[EXPORT, ERASE], Some(&w.b)).await?;
            Face::Wire {
                of_a: of_a.text.expose().clone(),
                of_b: of_b.text.expose().clone(),
            }
        } else {
            Face::Operator
        };
        let purpose = w.config().purposes.first();
        let purpose = purpose.ok_or_else(|| Short::not_configured("[[purpose]]"))?;
        for tenant in [w.a.id, w.b.id] {
            let subject = Subject::new(Some(tenant), &name);
            let subject = subject.map_err(|error| Short::not_proven(told(error)))?;
            let new = New {
                purpose: &purpose.name,
                version: None,
                state: State::Given,
            };
            let consents = &w.stores.identity.consents;
            let written = consents.record(&subject, &new, &By::OPERATOR).await;
            written.map_err(|error| Short::not_proven(told(error)))?;
        }
        let sealed = match (Desk::at(w, &w.a).await, Desk::at(w, &w.b).await) {
            (Ok(at_a), Ok(at_b)) => {
                let in_a = at_a.seal("of a customer in A", Some(&name)).await?;
                let in_b = at_b.seal("of a customer in B", Some(&name)).await?;
                Some((at_a, in_a, at_b, in_b))
            }
            (Err(Short::NotConfigured { .. }), _) | (_, Err(Short::NotConfigured { .. })) => None,
            (Err(short), _) | (_, Err(short)) => return Err(short),
        };
        Ok(Customer {
            w,
            face,
            name,
            sealed,
        })
    }

    fn by(&self) -> &'static str {
        match self.face {
            Face::Wire { .. } => "a program of the product",
            Face::Operator => "the operator (no role gives a program `export:subjects`)",
        }
    }

    async fn operator(
        &self,
        arguments: &[&str],
        tenant: TenantId,
    ) -> Result<Option<String>, Short> {
        let copy = self.w.copy.as_ref();
        let copy = copy.ok_or_else(|| Short::not_proven("there is no copy"))?;
        let tenant = tenant.to_string();
        let output = program(&copy.config())?
            .args(["--output", "json", "privacy"])
            .args(arguments)
            .args(["--other", "--tenant", &tenant])
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(output.status.success().then_some(text))
    }

    /// What is told of the person in tenant A; nothing where there is nobody.
    async fn export(&self) -> Result<Option<String>, Short> {
        match &self.face {
            Face::Wire { of_a, .. } => self.asked("export", of_a, None).await,
            Face::Operator => {
                let folder = Folder::new()?;
                let to = folder.path().join("customer.jsonl");
                let file = to.display().to_string();
                let arguments = ["export", &self.name, "--to", &file];
                let done = self.operator(&arguments, self.w.a.id).await?;
                let written = done.map(|_| std::fs::read_to_string(&to));
                Ok(written.transpose()?)
            }
        }
    }

    /// The same for an erasure, with its certificate.
    async fn erase(&self) -> Result<Value, Short> {
        let said = match &self.face {
            Face::Wire { of_a, .. } => self.asked("erase", of_a, None).await?,
            Face::Operator => {
                let arguments = ["erase", &self.name, "--yes"];
                self.operator(&arguments, self.w.a.id).await?
            }
        };
        let why = "somebody whom the product alone knows is not erased";
        let said = said.ok_or_else(|| Short::failed(why, RELEASED))?;
        Ok(serde_json::from_str(&said).map_err(anyhow::Error::from)?)
    }

    /// Over the wire; nothing where the answer is that there is nobody.
    async fn asked(
        &self,
        what: &str,
        key: &str,
        tenant: Option<TenantId>,
    ) -> Result<Option<String>, Short> {
        let mut body = json!({ "subject": self.name });
        if let (Some(tenant), Some(body)) = (tenant, body.as_object_mut()) {
            body.insert("tenant".to_owned(), json!(tenant.to_string()));
        }
        let path = base(&format!("/personal-data/{what}"));
        let ask = self.w.target.ask("POST", &path).bearer(key).json(&body);
        let reply = ask.send().await?;
        match reply.status {
            200 => Ok(Some(reply.text())),
            403 | 404 => Ok(None),
            _ => Err(Short::not_proven(format!(
                "POST {path} is answered {}",
                reply.said()
            ))),
        }
    }

    /// A program of another tenant gets nothing of this one's, whatever tenant it names.
    async fn is_kept_from_others(&self) -> Result<(), Short> {
        let Face::Wire { of_b, .. } = &self.face else {
            return Ok(());
        };
        for what in ["export", "erase"] {
            let got = self.asked(what, of_b, Some(self.w.a.id)).await?;
            must(
                got.is_none(),
                || format!("a program of one tenant can {what} a person of another"),
                RELEASED,
            )?;
        }
        let none = self.w.target.ask("POST", &base("/personal-data/export"));
        let none = none.json(&json!({ "subject": self.name })).send().await?;
        must(
            none.status == 401,
            || format!("nobody in particular is answered {}", none.said()),
            RELEASED,
        )
    }
}

/// That whoever the product alone knows is told with everything that is here of them, in their tenant alone.
pub(super) async fn exported(w: &World) -> Result<String, Short> {
    let customer = Customer::planted(w).await?;
    customer.is_kept_from_others().await?;
    let text = customer.export().await?;
    let text = text.ok_or_else(|| {
        Short::failed(
            "an export knows nobody whom the product alone knows",
            RELEASED,
        )
    })?;
    let rows = |table: &str| text.matches(&format!("\"table\":\"{table}\"")).count();
    let keys = usize::from(customer.sealed.is_some());
    must(
        rows("consent") == 1 && rows("data_key") == keys,
        || {
            format!(
                "of a consent and {keys} keys in one tenant, an export has {} and {}",
                rows("consent"),
                rows("data_key")
            )
        },
        RELEASED,
    )?;
    let verifiers = w.stores.identity.privacy.verifiers();
    let verifiers = verifiers.map_err(|error| Short::not_proven(told(error)))?;
    let changed = text.replacen("given", "taken", 1);
    must(
        archive::verify(text.as_bytes(), &verifiers).is_ok()
            && archive::verify(changed.as_bytes(), &verifiers).is_err(),
        || "an export does not verify, or does with a word changed".to_owned(),
        RELEASED,
    )?;
    Ok(format!(
        "{} is told the consents and keys of whom the product alone knows, in one tenant and in no other",
        customer.by()
    ))
}

/// That they are erased in one tenant, and in no other.
pub(super) async fn erased(w: &World) -> Result<String, Short> {
    let customer = Customer::planted(w).await?;
    customer.is_kept_from_others().await?;
    let said = customer.erase().await?;
    let count = |name: &str| said.get(name).and_then(Value::as_array).map(Vec::len);
    let keys = usize::from(customer.sealed.is_some());
    must(
        count("left") == Some(0) && count("keys") == Some(keys),
        || format!("an erasure destroys not {keys} keys, or leaves something: {said}"),
        RELEASED,
    )?;
    if let Some((at_a, in_a, at_b, in_b)) = &customer.sealed {
        let lost = w.until(async || Ok(!at_a.opens(in_a).await?)).await?;
        must(
            lost && at_b.opens(in_b).await?,
            || "an erasure reaches another tenant, or not its own".to_owned(),
            RELEASED,
        )?;
    }
    must(
        customer.export().await?.is_none(),
        || "whoever was erased is still told".to_owned(),
        RELEASED,
    )?;
    recorded(w, Action::PersonalDataErased).await?;
    Ok(format!(
        "{} erases whom the product alone knows: {keys} keys destroyed in one tenant, and none in another",
        customer.by()
    ))
}
