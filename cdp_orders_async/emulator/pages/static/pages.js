// The live list of requests. Without this file the page refreshes.
"use strict";
(() => {
  const MOST = 100; // rows
  const SPOKEN = 5000; // milliseconds between two messages for a screen reader
  const rows = document.getElementById("rows");
  const news = document.getElementById("news");
  const pause = document.getElementById("pause");
  let waiting = ""; // rows that came while the list was paused
  let fresh = 0;
  let timer = null;

  const show = (html) => {
    rows.insertAdjacentHTML("afterbegin", html);
    while (rows.rows.length > MOST) rows.deleteRow(-1);
    document.getElementById("nothing")?.remove();
  };
  const report = () => {
    timer ??= setTimeout(() => {
      timer = null;
      news.textContent = `${fresh} new ${fresh === 1 ? "request" : "requests"}`;
    }, SPOKEN);
  };

  const source = new EventSource(rows.dataset.events);
  source.onopen = () => { news.textContent = "Waiting for requests."; };
  source.onerror = () => { news.textContent = "The emulator does not answer. The page tries again."; };
  source.onmessage = (event) => {
    fresh += event.data.split("<tr ").length - 1;
    report();
    if (pause.getAttribute("aria-pressed") === "true") {
      const parts = (event.data + waiting).split(/(?=<tr )/);
      waiting = parts.slice(0, MOST).join("");
    } else {
      show(event.data);
    }
  };
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") === "true";
    pause.setAttribute("aria-pressed", String(!paused));
    if (paused) show(waiting);
    waiting = "";
  });
  pause.parentElement.hidden = false;
})();
