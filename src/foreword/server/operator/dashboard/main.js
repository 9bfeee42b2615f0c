"use strict";
// Asks every two seconds for the figures, every ten for the larger ones, while the page is looked at.

const FAST = 2000, SLOW = 10000;
let slowAt = 0;

async function refresh() {
  const [counts, recent] = await Promise.all([ask("counts"), ask("recent?limit=200")]);
  showTiles(counts);
  showLive(counts);
  showReasons(counts);
  showFleet(counts.fleet);
  showRequests(recent);
  if (Date.now() - slowAt >= SLOW) {
    slowAt = Date.now();
    const price = Number(document.getElementById("price").value), model = document.getElementById("model").value.trim();
    const at = price > 0 ? `?price_per_hour=${price}` : model ? `?model=${encodeURIComponent(model)}` : "";
    const [prefixes, curve, savings] = await Promise.all([
      ask("prefixes?limit=200"), ask("curve"), ask("savings" + at).catch(unpriced)]);
    showPrefixes(prefixes);
    showCurve(curve);
    showAdvice(counts, prefixes, curve);
    showSavings(savings);
  }
}

// A model without a price in the table is no reason to show nothing.
async function unpriced(error) {
  if (error.status !== 404) throw error;
  return { ...await ask("savings"), note: error.message };
}

async function loop() {
  const status = document.getElementById("status");
  if (document.hidden) return void setTimeout(loop, FAST);
  try {
    await refresh();
    status.textContent = report ? `Report of ${report.made}` : "Live";
    document.getElementById("key-form").hidden = true;
  } catch (error) {
    status.textContent = error.message;
    if (error.status === 401 || error.status === 403) {
      document.getElementById("key-form").hidden = false;
      document.getElementById("key-note").textContent = error.message;
      return;
    }
  }
  if (!report) setTimeout(loop, FAST);
}

document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("foreword-key", document.getElementById("key").value);
  loop();
});
document.getElementById("filter").addEventListener("input", filterRequests);
for (const id of ["price", "model"]) document.getElementById(id).addEventListener("change", () => { slowAt = 0; });
document.getElementById("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  forgetCharts();
  tree.drawn = "";
  slowAt = 0;
});
// A link to one request: /dashboard/#ID.
function follow() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  if (!wanted || document.getElementById(wanted)) return;
  explain(wanted).then(() => document.getElementById("explanation").scrollIntoView({ block: "center" }));
}

addEventListener("hashchange", follow);
document.getElementById("prices").hidden = Boolean(report);
document.querySelector("header nav").hidden = Boolean(report);
loop();
follow();
