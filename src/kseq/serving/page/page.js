// Everything that comes from a text is set by textContent, never as HTML.
"use strict";

const find = (id) => document.getElementById(id);
const form = find("form");
const source = find("source");
const go = find("go");
let beam = 1;
let latest = 0;

function add(parent, name, text) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function say(text, isError = false) {
  find("status").textContent = text;
  find("status").classList.toggle("error", isError);
}

// A space as a token would not be seen.
const shown = (token) => (token.trim() === "" ? "␣" : token);

function showMap(answer, output) {
  find("attention").hidden = !output.attention;
  if (!output.attention) return;
  const map = find("map");
  map.replaceChildren();
  find("cell").textContent = "";
  const columns = answer.source_tokens;
  map.classList.toggle("short", columns.slice(0, -1).every((token) => token.length <= 2));
  const head = add(add(map, "thead"), "tr");
  add(head, "td");
  for (const token of columns) {
    const cell = add(head, "th");
    cell.scope = "col";
    add(cell, "span", shown(token));
  }
  const body = add(map, "tbody");
  output.attention.forEach((weights, k) => {
    const token = k < output.tokens.length ? output.tokens[k] : "</s>";
    const row = add(body, "tr");
    add(row, "th", shown(token)).scope = "row";
    weights.forEach((weight, j) => {
      const cell = add(row, "td");
      const told = `${shown(token)} looks at ${shown(columns[j])}: ${weight.toFixed(2)}`;
      cell.style.backgroundColor = `rgba(var(--heat), ${weight})`;
      cell.title = told;
      cell.setAttribute("aria-label", weight.toFixed(2));
      cell.addEventListener("mouseenter", () => { find("cell").textContent = told; });
    });
  });
}

function choose(answer, k) {
  find("output").textContent = answer.outputs[k].text;
  showMap(answer, answer.outputs[k]);
}

function show(answer) {
  find("result").hidden = false;
  const rows = find("outputs");
  rows.replaceChildren();
  find("n-best").hidden = answer.outputs.length < 2;
  if (answer.outputs.length === 0) {
    find("output").textContent = "";
    find("attention").hidden = true;
    return;
  }
  answer.outputs.forEach((output, k) => {
    const row = add(rows, "tr");
    const label = add(add(row, "td"), "label");
    const radio = add(label, "input");
    radio.type = "radio";
    radio.name = "chosen";
    radio.checked = k === 0;
    radio.addEventListener("change", () => choose(answer, k));
    add(label, "span", output.text).dir = "auto";
    const length = output.tokens.length + (output.truncated ? 0 : 1);
    for (const number of [output.score, output.score / length]) {
      add(row, "td", number.toFixed(3)).className = "number";
    }
  });
  choose(answer, 0);
}

async function translate() {
  const number = ++latest;
  await described;
  const search = new FormData(form).get("search");
  go.disabled = true;
  say("Translating …");
  const began = performance.now();
  try {
    const response = await fetch("translate", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text: source.value, search, n: search === "beam" ? beam : 1 }),
    });
    const answer = await response.json();
    if (number !== latest) return;
    if (!response.ok) throw new Error(answer.error);
    show(answer);
    const cut = answer.outputs.length > 0 && answer.outputs[0].truncated;
    const time = `${Math.round(performance.now() - began)} ms`;
    say(cut ? `${time}; the output was cut at its greatest length` : time);
  } catch (error) {
    if (number !== latest) return;
    find("result").hidden = true;
    const lost = error instanceof TypeError;
    say(lost ? "The server does not answer." : error.message, true);
  } finally {
    if (number === latest) go.disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  translate();
});

source.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});

const described = fetch("model")
  .then((response) => response.json())
  .then((model) => {
    beam = model.beam_width;
    find("beam-label").hidden = beam < 2;
    find("beam-name").textContent = `beam of ${beam}`;
    find("about").textContent =
      `${model.source_vocabulary.toLocaleString()} source tokens, ` +
      `${model.target_vocabulary.toLocaleString()} target tokens, ` +
      `${model.attention ? "with" : "without"} attention.`;
  })
  .catch(() => { find("about").textContent = ""; });
