"use strict";
// The icicle of prominent prefixes, and the groups of near-twins.

const tree = { chosen: null, focused: null, drawn: "", twins: [] };

function showPrefixes(found) {
  showTwins(found.near_twins);
  const place = document.getElementById("icicle");
  const known = JSON.stringify(found.prefixes.map((prefix) => [prefix.number, prefix.requests, prefix.saved_tokens, prefix.label]))
    + place.clientWidth + colour("none");
  if (known === tree.drawn) return;
  tree.drawn = known;
  if (!found.prefixes.length) { place.replaceChildren(element("p", { class: "quiet" }, "No request has ended yet.")); return; }
  const root = { number: 0, parent: null, start: 0, end: 0, requests: 0, saved_tokens: 0, text: "" };
  const rows = [root, ...found.prefixes.map((prefix) => ({ ...prefix, parent: prefix.parent ?? 0 }))];
  const hierarchy = d3.stratify().id((row) => row.number).parentId((row) => row.parent)(rows)
    .sum((row) => (row.end - row.start) * row.requests)
    .sort((a, b) => b.value - a.value);
  const width = Math.max(300, place.clientWidth), height = 280;
  d3.partition().size([width, height])(hierarchy);
  drawIcicle(place, hierarchy, width, height);
}

function drawIcicle(place, hierarchy, width, height) {
  const hadFocus = place.contains(document.activeElement);
  const shade = d3.scaleLinear([0, 1], [colour("none"), colour("all")]).clamp(true);
  const svg = d3.create("svg").attr("viewBox", `0 0 ${width} ${height}`).attr("preserveAspectRatio", "none");
  const nodes = hierarchy.descendants().filter((node) => node.depth > 0);
  const band = height / hierarchy.height, top = (node) => (node.depth - 1) * band;
  const cell = svg.selectAll("g").data(nodes).join("g")
    .attr("transform", (node) => `translate(${node.x0},${top(node)})`)
    .classed("saved", (node) => savedShare(node.data) > 0.5)
    .attr("role", "treeitem").attr("tabindex", -1)
    .attr("aria-level", (node) => node.depth)
    .attr("aria-selected", (node) => String(node.data.number === tree.chosen))
    .attr("aria-label", (node) => `${node.data.label ? node.data.label + ", " : ""}tokens ${node.data.start} to ` +
      `${node.data.end}, ${node.data.requests} requests, ` +
      `${percent(savedShare(node.data))} not computed: ${node.data.text.slice(0, 80)}`)
    .on("click", (event, node) => choose(event.currentTarget, node))
    .on("keydown", (event, node) => onKey(event, node));
  cell.append("rect").attr("width", (node) => Math.max(0.5, node.x1 - node.x0)).attr("height", band)
    .attr("fill", (node) => shade(savedShare(node.data)));
  cell.filter((node) => node.x1 - node.x0 > 40).append("text").attr("x", 4).attr("y", 14)
    .text((node) => caption(node, Math.floor((node.x1 - node.x0) / 7)));
  place.replaceChildren(svg.node());
  const first = cell.filter((node) => node.data.number === (tree.focused ?? nodes[0].data.number)).node() ?? cell.node();
  first.setAttribute("tabindex", 0);
  if (hadFocus) first.focus();
}

// Which part of a conversation it is, where that is not the part above and there is room for it, then its text.
function caption(node, letters) {
  const label = node.data.label ?? "", text = node.data.text.replace(/\s+/g, " ").trim();
  const told = label && label !== node.parent.data.label && label.length < letters - 8 ? `${label}: ${text}` : text;
  return told.length > letters ? told.slice(0, letters - 1) + "…" : told;
}

function savedShare(prefix) {
  return prefix.saved_tokens / Math.max(1, (prefix.end - prefix.start) * prefix.requests);
}

function onKey(event, node) {
  const siblings = node.parent.children, at = siblings.indexOf(node);
  const target = {
    ArrowDown: node.children?.[0], ArrowUp: node.parent.depth ? node.parent : null,
    ArrowRight: siblings[at + 1], ArrowLeft: siblings[at - 1],
  }[event.key];
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(event.currentTarget, node); }
  if (!target) return;
  event.preventDefault();
  const next = d3.selectAll("#icicle g").filter((other) => other === target).node();
  event.currentTarget.setAttribute("tabindex", -1);
  next.setAttribute("tabindex", 0);
  tree.focused = target.data.number;
  next.focus();
}

function choose(cell, node) {
  tree.chosen = node.data.number;
  d3.selectAll("#icicle g").attr("aria-selected", (other) => String(other === node));
  const prefix = node.data, twins = tree.twins.filter((group) => group.prefix === prefix.number);
  show("prefix",
    element("dl", {}, ...definitions([
      ["Stands in", prefix.label],
      ["Tokens", `${whole.format(prefix.start)} to ${whole.format(prefix.end)}`],
      ["Requests", whole.format(prefix.requests) + (prefix.error ? `, at most ${whole.format(prefix.requests + prefix.error)}` : "")],
      ["Hits", whole.format(prefix.hits)],
      ["Saved", `${whole.format(prefix.saved_tokens)} tokens, ${seconds(prefix.saved_seconds)}`],
      ["Memory", bytes(prefix.memory_bytes)],
      ["Tenants", prefix.tenants.join(", ")],
      ["Last use", `${seconds(Math.max(0, prefix.age))} ago`]])),
    element("pre", {}, prefix.text),
    twins.length ? element("p", { class: "quiet" }, "Near-twins that part here:") : null,
    twins.length ? element("ul", {}, ...twins.map(twinItem)) : null);
}

function showTwins(twins) {
  tree.twins = twins;
  show("twins", ...(twins.length ? twins.map(twinItem) : [element("li", { class: "quiet" }, "None found.")]));
}

function twinItem(group) {
  return element("li", {},
    `${whole.format(group.requests)} requests differ only at token ${whole.format(group.position)}` +
    `${group.kind ? ` (${words(group.kind)})` : ""}; if that were the same in all, ` +
    `${percent(group.share_of_prefill)} of all prefill would be saved.`,
    element("pre", {}, group.before, ...alternatives(group.values), group.after));
}

// Each value marked for itself, with a bar between them, where they do not stand on lines of their own.
function alternatives(values) {
  return values.flatMap((value, place) => [place && !values[place - 1].endsWith("\n") ? " | " : "", element("del", {}, value)]);
}
