// Lets the forms of the gate's own pages ask for a passkey. The only script that they have: without it
// these forms stay hidden, and everything else works.
"use strict";

const decode = (text) => {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
};
const encode = (bytes) =>
  bytes &&
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
const named = (list) => (list ?? []).map((one) => ({ ...one, id: decode(one.id) }));

async function answer(options) {
  options.challenge = decode(options.challenge);
  let response;
  let credential;
  if (options.user) {
    options.user.id = decode(options.user.id);
    options.excludeCredentials = named(options.excludeCredentials);
    credential = await navigator.credentials.create({ publicKey: options });
    response = { attestationObject: encode(credential.response.attestationObject) };
  } else {
    options.allowCredentials = named(options.allowCredentials);
    credential = await navigator.credentials.get({ publicKey: options });
    response = {
      authenticatorData: encode(credential.response.authenticatorData),
      signature: encode(credential.response.signature),
      userHandle: encode(credential.response.userHandle) ?? null,
    };
  }
  response.clientDataJSON = encode(credential.response.clientDataJSON);
  const { id, type } = credential;
  return { id, rawId: encode(credential.rawId), type, response };
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  const said = form.querySelector("[role=status]");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    said.textContent = "";
    try {
      const asked = await fetch(form.dataset.passkey, {
        method: "POST",
        headers: { accept: "application/json" },
      });
      const options = await asked.json();
      if (asked.ok) {
        form.elements.credential.value = JSON.stringify(await answer(options.publicKey));
      } else if (asked.status !== 401) {
        said.textContent = options.detail ?? options.title;
        return;
      }
      // Somebody who has to sign in again gets the page that says so.
      form.submit();
    } catch (error) {
      said.textContent = `That did not work: ${error.message}`;
    }
  });
}
