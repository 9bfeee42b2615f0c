"use strict";
// The latest requests, and why each hit or missed.

const table = { requests: [], chosen: null };

function showRequests(answer) {
  table.requests = answer.requests;
  document.getElementById("requests-note").textContent = answer.kept;
  filterRequests();
}

function filterRequests() {
  const wanted = document.getElementById("filter").value.trim().toLowerCase();
  const shown = table.requests.filter((request) =>
    [request.request_id, request.tenant ?? "", words(request.reason)].some((text) => text.toLowerCase().includes(wanted)));
  const focused = document.activeElement?.dataset?.request;
  const longest = Math.max(1, ...shown.slice(0, 100).map((request) => request.prompt_tokens));
  keepPlace(() =>
    document.querySelector("#requests tbody").replaceChildren(...shown.slice(0, 100).map((request) => requestRow(request, longest))));
  if (focused) document.querySelector(`[data-request="${CSS.escape(focused)}"]`)?.focus();
}

// Whoever has scrolled down goes on reading the same row, however many have come above it.
function keepPlace(replace) {
  const scroll = document.querySelector("#requests").parentElement;
  const buttons = () => [...scroll.querySelectorAll("tbody button")];
  const read = scroll.scrollTop > 0 && buttons().find((button) => button.closest("tr").offsetTop >= scroll.scrollTop);
  const before = read && read.closest("tr").offsetTop;
  replace();
  const again = read && buttons().find((button) => button.dataset.request === read.dataset.request);
  if (again) scroll.scrollTop += again.closest("tr").offsetTop - before;
}

function requestRow(request, longest) {
  const reused = request.prompt_tokens - request.computed - request.unprocessed;
  const name = request.request_id.length > 22 ? "…" + request.request_id.slice(-12) : request.request_id;
  return element("tr", {},
    element("td", {}, element("button", { type: "button", "data-request": request.request_id,
      title: request.request_id, onclick: () => link(request.request_id) }, name)),
    element("td", { class: "aside" }, request.tenant ?? ""),
    element("td", { class: "number" }, Math.max(0, request.age).toFixed(0)),
    element("td", { class: "number aside" }, whole.format(request.prompt_tokens)),
    element("td", { class: "waterfall aside" }, sourceBar(request, longest)),
    element("td", { class: "number" }, percent(reused / Math.max(1, request.prompt_tokens))),
    element("td", {}, words(request.reason)));
}

// The address of the page becomes a link to the request.
function link(requestId) {
  window.history.replaceState(null, "", "#" + encodeURIComponent(requestId));
  explain(requestId);
}

async function explain(requestId) {
  table.chosen = requestId;
  let found;
  try {
    found = await ask("explain/" + encodeURIComponent(requestId));
  } catch (error) {
    show("explanation", element("p", {}, error.message));
    return;
  }
  if (table.chosen !== requestId) return;
  const eviction = found.eviction;
  const pressure = (eviction?.pressure ?? []).map(([name, tokens]) => `${name} (${whole.format(tokens)} tokens)`).join(", ");
  show("explanation",
    element("h3", {}, `${words(found.reason)}${found.detail ? ": " + words(found.detail) : ""}`),
    element("dl", {}, ...definitions([
      ["Request", found.request_id], ["Tenant", found.tenant],
      ["Hit ended at token", whole.format(found.position) + (found.place ? `, ${found.place}` : "")],
      ["Sources", `${found.cached} cached, ${found.shared_in_flight} shared in flight, ` +
        `${found.stored_local + found.stored_shared} loaded from a store, ${found.computed} computed` +
        (found.unprocessed ? `, ${found.unprocessed} not processed` : "") +
        (found.recomputed ? `; ${found.recomputed} computed once more` : "")],
      ["Of the answer", found.drafted ? `${found.accepted} of ${found.drafted} drafted tokens were right` : null],
      ["Nearest cached prefix", found.nearest &&
        `${found.nearest.request_id}${found.nearest.in_answer ? ", its answer" : ""}; ` +
        `${whole.format(found.nearest.alike_after)} tokens are alike after the difference`],
      ["Evicted", eviction && `${whole.format(eviction.lost_tokens)} tokens, ` +
        (eviction.at === null ? "" : `${seconds(Math.max(0, found.finished - eviction.at))} before this answer ended, `) +
        `to make room for ${pressure || "others"}`]])),
    found.old_text ? element("p", { class: "quiet" }, "The cached prefix went on:") : null,
    found.old_text ? element("pre", {}, found.shared_text, element("del", {}, found.old_text)) : null,
    found.new_text ? element("p", { class: "quiet" }, "This prompt goes on:") : null,
    found.new_text ? element("pre", {}, found.shared_text, element("ins", {}, found.new_text)) : null);
}
