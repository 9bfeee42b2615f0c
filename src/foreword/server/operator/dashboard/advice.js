"use strict";
// The first line of the page: what would save most, in words, with how much.

const ORDERS = {
  tools_reordered: "Send the tools in one order: sort them once, when the program starts",
  json_reordered: "Write JSON in one form: the same order of keys, the same blanks",
  template_rerender: "Send earlier answers back as they were, for the chat template writes them otherwise",
};
const WORTH = 0.01; // what saves less than this share is not advised

function showAdvice(counts, prefixes, curve) {
  const place = document.getElementById("advice");
  if (!counts.requests) return place.replaceChildren(...emptyState());
  const best = advices(counts, prefixes, curve).sort((a, b) => b.share - a.share)[0];
  if (best && best.share >= WORTH) {
    return place.replaceChildren(element("b", {}, best.text + "."), ` ${best.why}`,
      element("span", { class: "saving" }, ` Saves ${percent(best.share)} of what is computed.`));
  }
  const reachable = curve.unlimited ? ` That is ${percent(Math.min(1, counts.hit_rate / curve.unlimited))} of what a cache without end would have hit.` : "";
  return place.replaceChildren(element("b", {}, "Nothing to mend."), ` ${percent(counts.hit_rate)} of the prompt tokens were not computed.${reachable}`);
}

function advices(counts, prefixes, curve) {
  const found = prefixes.near_twins.map((group) => ({
    share: group.share_of_prefill,
    text: `Move the ${group.kind ? words(group.kind) : "text"} at token ${whole.format(group.position)} behind what follows it`,
    why: `${whole.format(group.requests)} requests differ only there: “${group.values.slice(0, 2).join("”, “")}”.`,
  }));
  for (const [reason, text] of Object.entries(ORDERS)) {
    const missed = counts.missed_tokens_by_reason[reason] ?? 0;
    found.push({ share: missed / Math.max(1, counts.computed), text,
      why: `${whole.format(counts.requests_by_reason[reason] ?? 0)} requests missed for that.` });
  }
  const today = curve.points.findIndex((point) => point.tokens >= curve.today_tokens), next = curve.points[today + 1];
  if (next) {
    const gained = (next.hit_rate - curve.points[today].hit_rate) * SOURCES.reduce((sum, [source]) => sum + counts[source], 0);
    found.push({ share: gained / Math.max(1, counts.computed),
      text: `Give the cache twice the memory (+${bytes((next.tokens - curve.today_tokens) * curve.bytes_per_token)}), or a store on disk`,
      why: "Prefixes that come back have had to make room." });
  }
  return found;
}

function emptyState() {
  return [element("b", {}, "No request has ended yet."), " Ask something in the ", element("a", { href: "/" }, "playground"),
    ", or point a client at this server:", element("pre", {}, `OPENAI_BASE_URL=${location.origin}/v1   ANTHROPIC_BASE_URL=${location.origin}`),
    element("span", { class: "quiet" }, "Here will stand how much of the prompts was not computed, why hits ended, and what to do about it.")];
}
