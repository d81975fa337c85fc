// Shows how far a sending is; without this script the page reloads itself.
"use strict";

const box = document.querySelector("[data-progress]");

async function look() {
  try {
    const answer = await fetch(box.dataset.progress, { cache: "no-store", redirect: "error" });
    if (answer.ok) {
      const now = await answer.json();
      for (const name of ["sent", "waiting", "failed"]) {
        box.querySelector(`[data-${name}]`).textContent = now[name];
      }
      const bar = box.querySelector("progress");
      bar.max = now.readers || Math.max(1, now.sent + now.waiting + now.failed);
      bar.value = now.sent + now.failed;
      if (now.over) {
        location.reload();
        return;
      }
    }
  } catch {
    // The network or the server is away for now; the next look may find it again.
  }
  setTimeout(look, 1000);
}

if (box) {
  setTimeout(look, 500);
}
