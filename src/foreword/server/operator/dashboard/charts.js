"use strict";
// Tiles, the live chart of sources, reasons, the curve, savings.

const history = { times: [], rates: SOURCES.map(() => []), last: null };
const charts = {};
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

function showTiles(counts) {
  const tile = (value, name) => element("div", { class: "tile" }, element("b", {}, value), element("span", {}, name));
  show("tiles",
    tile(percent(counts.hit_rate), "of prompt tokens not computed"),
    tile(short.format(counts.cached + counts.shared_in_flight), "tokens cached or shared"),
    tile(short.format(counts.stored_local + counts.stored_shared), "tokens from a store"),
    tile(short.format(counts.computed), "tokens computed"),
    tile(whole.format(counts.requests), "requests"));
}

function showLive(counts) {
  const before = history.last;
  history.last = counts;
  if (report) {
    document.getElementById("live-text").textContent = SOURCES
      .map(([source]) => `${words(source)}: ${whole.format(counts[source])} tokens`).join("; ");
    document.getElementById("live").remove();
    return;
  }
  if (!before || counts.now <= before.now) return;
  history.times.push(Date.now() / 1000);
  SOURCES.forEach(([source], index) =>
    history.rates[index].push((counts[source] - before[source]) / (counts.now - before.now)));
  if (history.times.length > 300) { history.times.shift(); history.rates.forEach((series) => series.shift()); }
  const now = history.rates.map((series) => Math.round(series.at(-1)));
  document.getElementById("live-text").textContent =
    "Now, tokens a second: " + SOURCES.map(([source], index) => `${now[index]} ${words(source)}`).join(", ") + ".";
  draw("live", [history.times, ...history.rates], () => ({
    scales: { x: { range: (_, first, last) => [Math.min(first, last - 60), last] } },
    series: [{}, ...SOURCES.map(([source, name]) =>
      ({ label: words(source), stroke: colour(name), fill: colour(name) + "33", width: 2, points: { show: false } }))],
    legend: { live: false },
    axes: axes("tokens / s", (_, ticks) => ticks.map((tick) => clock.format(1000 * tick)), 80),
  }));
}

function axes(label, values, space = 50) {
  const common = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
  return [{ ...common, values, space }, { ...common, label, size: 62 }];
}

function draw(id, data, options) {
  const place = document.getElementById(id);
  if (charts[id]) { charts[id].setData(data); return; }
  const size = () => ({ width: Math.max(200, place.clientWidth), height: 205 });
  charts[id] = new uPlot({ ...size(), ...options() }, data, place);
  new ResizeObserver(() => charts[id]?.setSize(size())).observe(place);
}

function forgetCharts() {
  for (const id of Object.keys(charts)) { charts[id].destroy(); delete charts[id]; }
}

// What a reason says, for who has not read the page on reasons.
const MEANINGS = {
  complete: "all was there",
  first_seen: "nobody had asked so far before",
  diverged: "another text was cached there",
  volatile_value: "a time, an id or a counter was another one",
  tools_reordered: "the same tools, in another order",
  json_reordered: "the same JSON, written otherwise",
  template_rerender: "the same conversation, written otherwise",
  stored_corrupt: "a store gave what had not been stored",
  stored_other_identity: "a store gave another model's",
  load_failed: "a store did not bring it",
  load_slower: "computing it took less time than loading",
  evicted: "it was cached, and had to make room",
  adapter_or_weights_changed: "it is cached for other weights",
  namespace_differs: "it is cached for another tenant or salt",
  below_minimum: "the prompt is shorter than what is cached",
  disabled: "the cache was off for it",
  not_admitted: "it ended before it was looked up",
};

function showReasons(counts) {
  const rows = Object.entries(counts.requests_by_reason).sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...Object.values(counts.missed_tokens_by_reason));
  document.querySelector("#reasons tbody").replaceChildren(...rows.map(([reason, requests]) => {
    const missed = counts.missed_tokens_by_reason[reason] ?? 0;
    const bar = element("span", { class: "bar" });
    bar.style.width = (100 * missed) / most + "%";
    return element("tr", {}, element("th", { scope: "row" }, words(reason), element("small", {}, MEANINGS[reason] ?? "")),
      element("td", { class: "number" }, whole.format(requests)),
      element("td", { class: "number" }, whole.format(missed)), element("td", {}, bar));
  }));
  document.getElementById("reasons-note").textContent =
    counts.unclassified ? `${counted(counts.unclassified, "request is", "requests are")} still to be looked at more closely.` : "";
}

function showFleet(fleet) {
  document.getElementById("fleet").hidden = !fleet;
  if (!fleet) return;
  const share = (tokens) => percent(tokens / Math.max(1, fleet.prompt_tokens));
  document.getElementById("fleet-text").textContent =
    `Of the prompt tokens ${share(fleet.available_tokens)} were cached somewhere, ${share(fleet.routed_tokens)} where the request ` +
    `was sent, and ${share(fleet.delivered_tokens)} were found there. ` +
    `${counted(fleet.routing_misses, "request was sent past its", "requests were sent past their")} prefix, ` +
    `for the work that waited there. Imbalance ${fleet.imbalance.toFixed(2)}. ` +
    `${counted(fleet.lost, "replica was", "replicas were")} lost, ${counted(fleet.resumed, "request", "requests")} went on elsewhere.`;
  document.querySelector("#replicas tbody").replaceChildren(...fleet.replicas.map((replica) => element("tr", {},
    element("th", { scope: "row" }, replica.name + (replica.leaving ? " (is to end)" : "")),
    element("td", {}, `${replica.host}/${replica.pid}`),
    ...[replica.blocks, replica.queue_seconds.toFixed(1), replica.waiting, replica.running, replica.placed].map((value) =>
      element("td", { class: "number" }, typeof value === "number" ? whole.format(value) : value)))));
}

function showCurve(curve) {
  const sizes = curve.points.map((point) => point.tokens);
  const rates = curve.points.map((point) => 100 * point.hit_rate);
  const today = curve.points.findIndex((point) => point.tokens >= curve.today_tokens);
  const marker = rates.map((rate, index) => (index === today ? rate : null));
  draw("curve", [sizes, rates, marker], () => ({
    scales: { x: { time: false, distr: 3, log: 2 } },
    legend: { live: false },
    series: [{ label: "tokens" }, { label: "hit rate %", stroke: colour("accent"), width: 2 },
      { label: "today", stroke: colour("computed"), paths: () => null, points: { show: true, size: 11, fill: colour("computed") } }],
    axes: axes("hit rate %", (_, ticks) => ticks.map((tick) => (tick ? short.format(tick) : ""))),
  }));
  const now = curve.points[today]?.hit_rate ?? 0;
  const next = curve.points[today + 1];
  const whatIf = next
    ? ` Twice as much (+${bytes((next.tokens - curve.today_tokens) * curve.bytes_per_token)}) brings ` +
      `${(100 * (next.hit_rate - now)).toFixed(1)} points.` : "";
  document.getElementById("curve-text").textContent = curve.unlimited
    ? `Today's cache holds ${short.format(curve.today_tokens)} tokens (${bytes(curve.today_tokens * curve.bytes_per_token)}): ` +
      `${percent(now)} of the prompt tokens, ${percent(now / curve.unlimited)} of what an infinite cache would hit.` + whatIf
    : "No prefix has come twice so far: more memory would bring nothing.";
}

function showSavings(savings) {
  show("savings", ...definitions([
    ["Tokens not computed", `${whole.format(savings.tokens)} of ${whole.format(savings.prompt_tokens)}`],
    ["Prefill time saved", `${seconds(savings.seconds)} of ${seconds(savings.prefill_seconds)}`],
    ["Money saved", savings.money === null ? "" : `${savings.money.toFixed(4)} ${savings.price.currency} of ` +
      `${savings.money_without_cache.toFixed(4)}`],
    ["At", savings.price?.source ?? savings.note],
    ["Cost model", `${(1e6 * savings.cost_model.per_token).toFixed(1)} µs a token + ` +
      `${(1e9 * savings.cost_model.per_pair).toFixed(2)} ns for each token before it, from ` +
      `${whole.format(savings.cost_model.observations)} steps`]]));
}
