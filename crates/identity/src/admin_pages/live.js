// Keeps the figures of the console's first page fresh. Without it the page shows what it showed when it
// was loaded. It stops where nobody looks: an open stream is use, and a session that nobody uses is to end.
"use strict";

(() => {
  const bar = document.getElementById("live");
  const status = bar.querySelector("[role=status]");
  const button = bar.querySelector("button");
  const LEFT_ALONE = 15 * 60 * 1000;
  let source = null;
  let isPaused = false;
  let isLate = false;
  let lastTouched = Date.now();

  const figures = () => document.getElementById("glance");
  const say = (text) => {
    status.textContent = text;
  };

  function show(fresh) {
    const old = figures();
    // Somebody reads here by keyboard: the place under their finger is not taken away.
    if (old.contains(document.activeElement)) {
      isLate = true;
      return;
    }
    const isOpen = [...old.querySelectorAll("details")].map((one) => one.open);
    fresh.querySelectorAll("details").forEach((one, place) => {
      one.open = isOpen[place] ?? false;
    });
    old.replaceWith(document.adoptNode(fresh));
    isLate = false;
  }

  function load() {
    const request = new XMLHttpRequest();
    request.open("GET", bar.dataset.figures);
    // A document and not a text: what comes is never made a page by us.
    request.responseType = "document";
    request.addEventListener("load", () => {
      const fresh = request.responseXML?.getElementById("glance");
      if (request.status === 200 && fresh) {
        show(fresh);
      } else {
        stop("Not live: load this page again.");
      }
    });
    request.send();
  }

  function stop(text) {
    source?.close();
    source = null;
    say(text);
  }

  function start() {
    if (source || isPaused || document.hidden) return;
    source = new EventSource(bar.dataset.stream);
    source.addEventListener("open", () => say("Live."));
    source.addEventListener("figures", (event) => {
      if (event.data !== figures().dataset.mark) load();
    });
    source.addEventListener("error", () => {
      if (source?.readyState === EventSource.CLOSED) stop("Not live: load this page again.");
      else say("Connecting …");
    });
  }

  function pause(text) {
    isPaused = true;
    button.textContent = "Go on";
    stop(text);
  }

  button.addEventListener("click", () => {
    if (!isPaused) return pause("Paused.");
    isPaused = false;
    button.textContent = "Pause";
    start();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop("Not live while nobody looks.");
    else start();
  });
  document.addEventListener("focusout", () => {
    // Behind the change of focus, which has no new place yet.
    setTimeout(() => isLate && !figures().contains(document.activeElement) && load());
  });
  for (const kind of ["pointerdown", "keydown", "scroll"]) {
    document.addEventListener(kind, () => (lastTouched = Date.now()), { passive: true });
  }
  setInterval(() => {
    if (source && Date.now() - lastTouched > LEFT_ALONE) pause("Paused: nobody was here for 15 minutes.");
  }, 30_000);

  bar.hidden = false;
  say("Connecting …");
  start();
})();
