"use strict";
// Where the figures come from: the server, asked with the reader's API key; or, in a report, what is written into the page.

const embedded = document.getElementById("report-data");
const report = embedded ? JSON.parse(embedded.textContent) : null;

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function ask(path) {
  if (report) {
    if (path in report.answers) return report.answers[path];
    const name = path.split("?")[0];
    if (name in report.answers) return report.answers[name];
    throw new Refused(404, "This is not in the report.");
  }
  const key = sessionStorage.getItem("foreword-key");
  const response = await fetch("/v1/cache/" + path, { headers: key ? { authorization: "Bearer " + key } : {} });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body.error?.message ?? `The server answered ${response.status}.`);
  return body;
}

// Text from prompts enters the page only as text, never as markup.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function show(id, ...children) {
  document.getElementById(id).replaceChildren(...children.filter((child) => child !== null));
}

function definitions(pairs) {
  return pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined)
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]);
}

// A request's prompt as a bar, its tokens by source.
const SOURCES = [["cached", "cached"], ["shared_in_flight", "shared"], ["stored_local", "stored"],
  ["stored_shared", "stored"], ["computed", "computed"]];

function sourceBar(counts, most = 0) {
  const present = SOURCES.filter(([source]) => counts[source]);
  const bar = element("div", { class: "sources", role: "img",
    "aria-label": present.map(([source]) => `${whole.format(counts[source])} tokens ${words(source)}`).join(", ") || "no tokens" });
  const total = present.reduce((sum, [source]) => sum + counts[source], 0);
  if (most) bar.style.width = Math.max(2, (100 * total) / most) + "%";
  for (const [source, name] of present) {
    const part = element("i", { class: name, title: `${whole.format(counts[source])} ${words(source)}` });
    part.style.flexGrow = String(counts[source]);
    bar.append(part);
  }
  return bar;
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const percent = (share) => (100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0) + " %";
// A count with its noun, and whatever goes with it: one, or several.
const counted = (count, one, several) => `${whole.format(count)} ${count === 1 ? one : several}`;
const words = (reason) => String(reason).replaceAll("_", " ");
const bytes = (count) => count >= 2 ** 30 ? (count / 2 ** 30).toFixed(1) + " GB" : (count / 2 ** 20).toFixed(1) + " MB";
const seconds = (count) => count >= 3600 ? (count / 3600).toFixed(1) + " h" : count >= 60 ? (count / 60).toFixed(1) + " min"
  : count.toFixed(1) + " s";
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
