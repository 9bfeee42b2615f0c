"use strict";
// A conversation with the model that is served, and below each answer where its prompt's tokens came from.

const EXAMPLE = `Answer questions about this text.
Larch & Sons is a carpenter's workshop in Bergen. It was founded in 1962 by Ingrid Larch.
The workshop makes tables, chairs and boats of oak and pine. It is open from Monday to Friday, from 8 to 17.
A chair of oak costs 240 euros, a chair of pine 150 euros. A table takes three weeks to make.
Boats are made to order, and the owner, Jonas Larch, draws each of them himself.`;
const TABLE = `You answer questions about this table. Say only what stands in it.
| Name | Department | Salary | Location |
|------|------------|--------|----------|
| Alice Smith | Engineering | 85000 | New York |
| Bob Johnson | Marketing | 65000 | Chicago |
| Carol White | Sales | 75000 | Boston |
`;
const talk = { turns: [], model: "", reading: null };
const field = (id) => document.getElementById(id);

function headers() {
  const key = sessionStorage.getItem("foreword-key");
  return { "content-type": "application/json", ...(key ? { authorization: "Bearer " + key } : {}) };
}

async function begin() {
  const response = await fetch("/v1/models", { headers: headers() });
  const body = await response.json().catch(() => ({}));
  field("key-form").hidden = response.status !== 401;
  if (!response.ok) return void (field("status").textContent = body.error?.message ?? `The server answered ${response.status}.`);
  talk.model = body.data.map((model) => model.id).find((name) => !name.includes("*")) ?? body.data[0].id;
  field("status").textContent = talk.model;
  if (talk.model === "table-reader" && field("system").value === EXAMPLE) example(TABLE, "What is Bob Johnson's salary?");
}

function example(system, question) {
  field("system").value = system;
  field("question").placeholder = question;
}

function conversation(question) {
  const system = field("system").value;
  return [...(system ? [{ role: "system", content: system }] : []), ...talk.turns, { role: "user", content: question }];
}

// The data of each event of a stream, as it comes.
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
  }
}

function turn(who, text) {
  const said = element("p", {}, text), about = element("div", { class: "about" });
  field("talk").append(element("li", {}, element("p", { class: "who" }, who), said, about));
  field("empty").hidden = true;
  return { said, about };
}

async function send(question) {
  turn("You", question);
  const { said, about } = turn(talk.model, "");
  talk.reading = new AbortController();
  field("send").disabled = true;
  field("stop").disabled = false;
  const asked = performance.now();
  let text = "", id = "", first = null;
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST", headers: headers(), signal: talk.reading.signal,
      body: JSON.stringify({ model: talk.model, messages: conversation(question), stream: true,
        temperature: Number(field("temperature").value), max_tokens: Number(field("length").value) }) });
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error?.message ?? `The server answered ${response.status}.`);
    for await (const event of eventsOf(response)) {
      if (event.error) throw new Error(event.error.message);
      id = event.id ?? id;
      const piece = event.choices?.[0]?.delta?.content ?? "";
      if (piece && first === null) first = performance.now() - asked;
      text += piece;
      said.textContent = text;
    }
  } catch (error) {
    if (error.name !== "AbortError") about.append(element("p", { class: "fault" }, error.message));
  }
  if (text) talk.turns.push({ role: "user", content: question }, { role: "assistant", content: text });
  field("send").disabled = false;
  field("stop").disabled = true;
  if (id) await tell(about, id, first);
  field("question").focus();
}

// The observer hears of a request a moment after its answer ended.
async function explanation(id) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await ask("explain/" + encodeURIComponent(id));
    } catch (error) {
      if (error.status !== 404 || tries === 10) throw error;
      await new Promise((wake) => setTimeout(wake, 100));
    }
  }
}

async function tell(about, id, first) {
  let found;
  try {
    found = await explanation(id);
  } catch (error) {
    return void about.append(element("p", { class: "quiet" }, error.message));
  }
  const place = found.place ? `, ${found.place}` : "";
  about.append(sourceBar(found), element("p", { class: "quiet" },
    `${found.prompt_tokens - found.computed} of ${found.prompt_tokens} prompt tokens were there` +
    (first === null ? "" : `, first word after ${first < 1000 ? Math.round(first) + " ms" : seconds(first / 1000)}`) +
    `. The hit ended at token ${found.position}${place}: ${words(found.reason)}${found.detail ? ", " + words(found.detail) : ""}. `,
    element("a", { href: "/dashboard/#" + encodeURIComponent(id) }, "Why")));
}

field("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = field("question").value.trim();
  if (!question || field("send").disabled) return;
  field("question").value = "";
  send(question);
});
field("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    field("ask").requestSubmit();
  }
});
field("stop").addEventListener("click", () => talk.reading?.abort());
field("fresh").addEventListener("click", () => {
  talk.reading?.abort();
  talk.turns = [];
  field("talk").replaceChildren();
  field("empty").hidden = false;
  field("question").focus();
});
field("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("foreword-key", field("key").value);
  begin();
});
example(EXAMPLE, "How much is a chair of oak?");
begin();
