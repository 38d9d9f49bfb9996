// Opens a widget on this page: <script src="https://GATE/.portcullis/widget.js" data-tenant="acme" async>.
// data-label: the text of the button. data-position: "left" or "right".
(() => {
  "use strict";
  const script = document.currentScript;
  if (!script || !script.src || window.PortcullisWidget) return;
  const page = "PAGE";
  const features = "FEATURES";
  // The gate that served this script. Every message goes there and comes from there.
  const gate = new URL(script.src).origin;
  const tenant = script.dataset.tenant || "";
  if (!/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])$/.test(tenant)) {
    console.error("portcullis: data-tenant has to be the short name of a tenant");
    return;
  }
  const left = script.dataset.position === "left";
  let frame = null;
  let asked = false;

  const box = document.createElement("div");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = script.dataset.label || "Chat";
  button.setAttribute("aria-expanded", "false");
  Object.assign(box.style, { position: "fixed", bottom: "16px", zIndex: "2147483000" });
  box.style[left ? "left" : "right"] = "16px";
  Object.assign(button.style, { font: "inherit", padding: "12px 20px", minHeight: "44px", cursor: "pointer" });
  box.append(button);

  function open() {
    frame = document.createElement("iframe");
    frame.title = button.textContent;
    // The frame has its own origin and storage, runs scripts and sends forms. It opens no windows, asks
    // for no dialogs, and does not move this page.
    frame.setAttribute("sandbox", "allow-scripts allow-same-origin allow-forms");
    frame.setAttribute("allow", features);
    frame.setAttribute("referrerpolicy", "no-referrer");
    Object.assign(frame.style, {
      display: "block", border: "0", width: "min(380px, calc(100vw - 32px))",
      height: "min(560px, calc(100vh - 96px))", marginBottom: "8px", background: "#fff",
    });
    frame.src = gate + page.replace("{tenant}", tenant);
    box.prepend(frame);
  }

  function show() {
    if (!frame) open();
    frame.style.display = "block";
    button.setAttribute("aria-expanded", "true");
  }

  function hide() {
    if (frame) frame.style.display = "none";
    button.setAttribute("aria-expanded", "false");
  }

  function tell(message) {
    if (frame && frame.contentWindow) {
      // By name: if something else is in the frame by now, it hears nothing.
      frame.contentWindow.postMessage({ portcullis: 1, ...message }, gate);
    }
  }

  function hasShape(data, keys) {
    return typeof data === "object" && data !== null && data.portcullis === 1
      && Object.keys(data).sort().join() === ["portcullis", "type", ...keys].sort().join();
  }

  function browser() {
    const { language, languages, platform, vendor, cookieEnabled } = navigator;
    const cut = (text) => String(text).slice(0, 100);
    return {
      language: cut(language), languages: Array.from(languages || []).slice(0, 16).map(cut),
      platform: cut(platform), vendor: cut(vendor), cookieEnabled: Boolean(cookieEnabled),
      screenResolution: `${screen.width}x${screen.height}`,
      viewportSize: `${innerWidth}x${innerHeight}`,
      timezone: cut(Intl.DateTimeFormat().resolvedOptions().timeZone),
      timezoneOffset: new Date().getTimezoneOffset(),
    };
  }

  async function begin() {
    if (asked) return;
    asked = true;
    try {
      // From this page, so that the browser says whose page it is.
      const response = await fetch(`${gate}/.portcullis/visitors/${tenant}`, {
        method: "POST", mode: "cors", credentials: "omit", cache: "no-store", redirect: "error",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ metadata: browser() }),
      });
      const answer = await response.json();
      if (response.status === 201 && /^pcv_[A-Za-z0-9_-]{43}$/.test(answer.token)) {
        const { id, token, expires_at } = answer;
        tell({ type: "session", id, token, expires_at });
      } else {
        tell({ type: "refused", status: response.status });
      }
    } catch {
      tell({ type: "refused", status: 0 });
    } finally {
      asked = false;
    }
  }

  function hear(event) {
    // SECURITY: from the gate, and from the very frame that was opened here. Any page can send a
    // message to this one, and a sandboxed one has the origin "null".
    if (!frame || event.source !== frame.contentWindow || event.origin !== gate) return;
    const data = event.data;
    if (hasShape(data, []) && data.type === "begin") {
      begin();
    } else if (hasShape(data, []) && data.type === "close") {
      hide();
    } else if (hasShape(data, ["height"]) && data.type === "resize" && Number.isInteger(data.height)) {
      const height = Math.min(Math.max(data.height, 120), Math.max(innerHeight - 96, 120), 900);
      frame.style.height = `${height}px`;
    }
  }

  function destroy() {
    window.removeEventListener("message", hear);
    box.remove();
    frame = null;
    delete window.PortcullisWidget;
  }

  button.addEventListener("click", () => {
    if (button.getAttribute("aria-expanded") === "true") hide();
    else show();
  });
  window.addEventListener("message", hear);
  Object.defineProperty(window, "PortcullisWidget", {
    value: Object.freeze({ show, hide, destroy }), configurable: true,
  });
  if (document.body) document.body.append(box);
  else addEventListener("DOMContentLoaded", () => document.body.append(box));
})();
