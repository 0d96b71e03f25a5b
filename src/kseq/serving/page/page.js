// Texts of users are set with textContent, never as HTML.
"use strict";

const find = (id) => document.getElementById(id);
const form = find("form");
const source = find("source");
const go = find("go");
let beamWidth = 1;
let latestRequest = 0;

function add(parent, name, text) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function showStatus(text, isError = false) {
  find("status").textContent = text;
  find("status").classList.toggle("error", isError);
}

// Makes a blank token visible.
const visible = (token) => (token.trim() === "" ? "␣" : token);

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
    add(cell, "span", visible(token));
  }
  const body = add(map, "tbody");
  output.attention.forEach((weights, k) => {
    const token = k < output.tokens.length ? output.tokens[k] : "</s>";
    const row = add(body, "tr");
    add(row, "th", visible(token)).scope = "row";
    weights.forEach((weight, j) => {
      const cell = add(row, "td");
      const label = `${visible(token)}, ${visible(columns[j])}: ${weight.toFixed(2)}`;
      cell.style.backgroundColor = `rgba(var(--heat), ${weight})`;
      cell.title = label;
      cell.setAttribute("aria-label", weight.toFixed(2));
      cell.addEventListener("mouseenter", () => { find("cell").textContent = label; });
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
  const number = ++latestRequest;
  await modelLoaded;
  const search = new FormData(form).get("search");
  go.disabled = true;
  showStatus("Translating …");
  const start = performance.now();
  try {
    const response = await fetch("translate", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text: source.value, search, n: search === "beam" ? beamWidth : 1 }),
    });
    const answer = await response.json();
    if (number !== latestRequest) return;
    if (!response.ok) throw new Error(answer.error);
    show(answer);
    const truncated = answer.outputs.length > 0 && answer.outputs[0].truncated;
    const time = `${Math.round(performance.now() - start)} ms`;
    showStatus(truncated ? `${time}; the output reached the maximum length` : time);
  } catch (error) {
    if (number !== latestRequest) return;
    find("result").hidden = true;
    const isNetworkError = error instanceof TypeError;
    showStatus(isNetworkError ? "The server does not respond." : error.message, true);
  } finally {
    if (number === latestRequest) go.disabled = false;
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

const modelLoaded = fetch("model")
  .then((response) => response.json())
  .then((model) => {
    beamWidth = model.beam_width;
    find("beam-label").hidden = beamWidth < 2;
    find("beam-name").textContent = `beam, width ${beamWidth}`;
    find("about").textContent =
      `${model.source_vocabulary.toLocaleString()} source tokens, ` +
      `${model.target_vocabulary.toLocaleString()} target tokens, ` +
      `${model.attention ? "with" : "without"} attention.`;
  })
  .catch(() => { find("about").textContent = ""; });
