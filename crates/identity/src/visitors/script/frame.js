// For the page in the widget's frame: <script src="/.portcullis/widget/acme/frame.js"></script>.
//
//   const { id } = await PortcullisVisitor.session();
//   const answer = await PortcullisVisitor.fetch(`/api/visitors/${id}/messages`);
//   PortcullisVisitor.resize(480); PortcullisVisitor.close(); await PortcullisVisitor.end();
(() => {
  "use strict";
  if (window.PortcullisVisitor) return;
  const tenant = "TENANT";
  // Whose pages may open this one. The browser keeps all others from it (frame-ancestors).
  const origins = ["ORIGINS"];
  const place = `portcullis.visitor.${tenant}`;
  let visit = null;
  let waiting = null;

  // Storage of this origin in that page: no script of the page reads it. A browser may refuse it.
  function kept() {
    try {
      const found = JSON.parse(localStorage.getItem(place));
      return isVisit(found) && Date.parse(found.expires_at) > Date.now() ? found : null;
    } catch {
      return null;
    }
  }

  function keep(found) {
    visit = found;
    try {
      if (found) localStorage.setItem(place, JSON.stringify(found));
      else localStorage.removeItem(place);
    } catch {
      // It then lasts as long as the page.
    }
  }

  function isVisit(it) {
    return typeof it === "object" && it !== null && typeof it.id === "string"
      && /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(it.id)
      && typeof it.token === "string" && /^pcv_[A-Za-z0-9_-]{43}$/.test(it.token)
      && typeof it.expires_at === "string" && !Number.isNaN(Date.parse(it.expires_at));
  }

  function tell(message) {
    if (window.parent === window) return;
    // By name, to each that may be there: the browser hands it to the one that is.
    const above = location.ancestorOrigins && location.ancestorOrigins[0];
    for (const origin of above ? origins.filter((known) => known === above) : origins) {
      window.parent.postMessage({ portcullis: 1, ...message }, origin);
    }
  }

  function hasShape(data, keys) {
    return typeof data === "object" && data !== null && data.portcullis === 1
      && Object.keys(data).sort().join() === ["portcullis", "type", ...keys].sort().join();
  }

  window.addEventListener("message", (event) => {
    // SECURITY: from the page around this frame, and that page the tenant's. Whoever else could hand
    // over a token would have this visitor write into a visit of theirs (session fixation, CWE-384).
    if (event.source !== window.parent) return;
    if (!origins.includes(event.origin) || !waiting) return;
    const data = event.data;
    if (hasShape(data, ["expires_at", "id", "token"]) && data.type === "session" && isVisit(data)) {
      const { id, token, expires_at } = data;
      keep({ id, token, expires_at });
      waiting.resolve(visit);
      waiting = null;
    } else if (hasShape(data, ["status"]) && data.type === "refused") {
      waiting.reject(new Error(`portcullis: no visit could begin (${Number(data.status)})`));
      waiting = null;
    }
  });

  function begin() {
    if (!waiting) {
      waiting = {};
      waiting.promise = new Promise((resolve, reject) => Object.assign(waiting, { resolve, reject }));
      if (window.parent === window) {
        waiting.reject(new Error("portcullis: this page is in no frame"));
        const { promise } = waiting;
        waiting = null;
        return promise;
      }
      tell({ type: "begin" });
    }
    return waiting.promise;
  }

  async function current() {
    if (!visit) visit = kept();
    return visit || begin();
  }

  async function send(found, url, init) {
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${found.token}`);
    return fetch(url, { ...init, headers, credentials: "omit", redirect: "error" });
  }

  /** As `fetch`, for paths of this origin, as the visitor. */
  async function fetchAsVisitor(path, init = {}) {
    const url = new URL(path, location.origin);
    // SECURITY: the token is for the gate alone.
    if (url.origin !== location.origin) throw new Error("portcullis: only paths of this origin");
    const response = await send(await current(), url, init);
    const again = response.status === 401 && (init.body === undefined || typeof init.body === "string");
    if (response.status === 401) keep(null);
    return again ? send(await current(), url, init) : response;
  }

  /** Who the visitor is: `id` and `expires_at`. Begins a visit where there is none. */
  async function session() {
    const response = await fetchAsVisitor("/.portcullis/visitor");
    if (!response.ok) throw new Error(`portcullis: no visit (${response.status})`);
    const { id, expires_at } = await response.json();
    if (visit && visit.id === id) keep({ ...visit, expires_at });
    return { id, expires_at };
  }

  /** Ends the visit. */
  async function end() {
    const found = visit || kept();
    keep(null);
    if (found) await send(found, new URL("/.portcullis/visitor", location.origin), { method: "DELETE" });
  }

  Object.defineProperty(window, "PortcullisVisitor", {
    value: Object.freeze({
      session, end, fetch: fetchAsVisitor,
      close: () => tell({ type: "close" }),
      resize: (height) => tell({ type: "resize", height: Math.round(Number(height)) }),
    }),
  });
})();
