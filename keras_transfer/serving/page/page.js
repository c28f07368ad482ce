"use strict";

const MOST_BARS = 10;
const LEVELS = [0.1, 0.35, 0.7];
const find = (id) => document.getElementById(id);
let card = null;
let token = "";
let last = null;
let asked = 0;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A name from the data in an element of its own: its direction does not change that of its neighbours.
const name = (text) => make("bdi", {}, String(text));

const joined = (texts) => texts.flatMap((text, place) => (place ? [", ", name(text)] : [name(text)]));

async function call(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const body = await response.json().catch(() => ({ error: `The server answered with status ${response.status}.` }));
  if (response.status === 401) {
    find("token-form").hidden = false;
    find("token").focus();
    throw new Error("A token is needed.");
  }
  if (body.error) throw new Error(body.error);
  return body;
}

function say(text, isError = false) {
  const status = find("status");
  status.textContent = text;
  status.className = isError ? "error" : "";
}

async function start() {
  try {
    card = await call("model");
  } catch (error) {
    find("name").textContent = "Try the model";
    say(error.message, true);
    return;
  }
  find("token-form").hidden = true;
  say("Nothing was sent yet.");
  document.title = `${card.name}: try the model`;
  find("name").replaceChildren(name(card.name));
  const task = card.task.replaceAll("_", " ");
  find("task").textContent = task.charAt(0).toUpperCase() + task.slice(1);
  if (card.takes === "files") showFiles();
  else showTexts();
  showCard();
}

const takesAudio = () => card.preprocessing.kind === "audio";

function showFiles() {
  find("files").hidden = false;
  if (!takesAudio()) return;
  find("drop-title").textContent = "Drop a recording here";
  find("file").accept = "audio/*";
  // Browsers give the microphone to pages of this machine and to https alone.
  find("recorder").hidden = !(navigator.mediaDevices && window.MediaRecorder);
}

let recorder = null;

async function toggleRecording() {
  if (recorder) {
    recorder.stop();
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    say(`The microphone cannot be used: ${error.message}.`, true);
    return;
  }
  const chunks = [];
  const started = performance.now();
  const mark = () => {
    const seconds = (performance.now() - started) / 1000;
    find("recorded").textContent = `${seconds.toFixed(1)} s`;
    if (recorder && seconds >= card.preprocessing.max_seconds) recorder.stop();
  };
  const timer = setInterval(mark, 100);
  recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", (event) => chunks.push(event.data));
  recorder.addEventListener("stop", () => {
    clearInterval(timer);
    for (const track of stream.getTracks()) track.stop();
    const type = recorder.mimeType;
    recorder = null;
    find("record").textContent = "Record";
    find("record").setAttribute("aria-pressed", "false");
    sendFile(new File(chunks, "recording", { type }));
  });
  recorder.start();
  find("record").textContent = "Stop and predict";
  find("record").setAttribute("aria-pressed", "true");
  say("Recording.");
}

// The browser decodes what it can play: the server gets one channel at the model's rate, whatever the format.
async function toWav(file) {
  const rate = card.preprocessing.sample_rate;
  let decoded;
  try {
    decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await file.arrayBuffer());
  } catch {
    return file;
  }
  const samples = new Float32Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel += 1) {
    decoded.getChannelData(channel).forEach((value, place) => {
      samples[place] += value / decoded.numberOfChannels;
    });
  }
  return new File([encodeWav(samples, rate)], file.name, { type: "audio/wav" });
}

function encodeWav(samples, rate) {
  const bytes = new DataView(new ArrayBuffer(44 + 4 * samples.length));
  const write = (place, text) => [...text].forEach((letter, index) => bytes.setUint8(place + index, letter.charCodeAt(0)));
  write(0, "RIFF");
  bytes.setUint32(4, bytes.byteLength - 8, true);
  write(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 3, true); // 32-bit floats
  bytes.setUint16(22, 1, true);
  bytes.setUint32(24, rate, true);
  bytes.setUint32(28, 4 * rate, true);
  bytes.setUint16(32, 4, true);
  bytes.setUint16(34, 32, true);
  write(36, "data");
  bytes.setUint32(40, 4 * samples.length, true);
  samples.forEach((value, place) => bytes.setFloat32(44 + 4 * place, value, true));
  return bytes.buffer;
}

function showTexts() {
  const form = find("texts");
  const labels = card.inputs.length === 1 ? ["Text"] : card.inputs.map((_, place) => `Text ${place + 1}`);
  const areas = labels.map((label, place) => {
    const area = make("textarea", { id: `text-${place}`, required: "", dir: "auto", maxlength: card.limits.text_characters });
    form.append(make("label", { for: area.id }, label), area);
    return area;
  });
  const button = make("button", {}, "Predict");
  form.append(button);
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const texts = areas.map((area) => area.value);
    const body = JSON.stringify({ texts: [texts.length === 1 ? texts[0] : texts] });
    send({ method: "POST", headers: { "Content-Type": "application/json" }, body });
  });
  for (const area of areas) {
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
  }
}

async function sendFile(given) {
  if (!given || !card) return;
  const file = takesAudio() ? await toWav(given) : given;
  if (file.size > card.limits.body_bytes) {
    say(`${file.name} is larger than this server takes.`, true);
    return;
  }
  find("shown").replaceChildren(takesAudio() ? makePlayer(file) : makeImage(file));
  const form = new FormData();
  form.append("file", file, file.name);
  send({ method: "POST", body: form });
}

let playing = "";

function makePlayer(file) {
  URL.revokeObjectURL(playing);
  playing = URL.createObjectURL(file);
  return make("audio", { src: playing, controls: "", "aria-label": `What was sent: ${file.name}` });
}

function makeImage(file) {
  const url = URL.createObjectURL(file);
  const image = make("img", { src: url, alt: `What was sent: ${file.name}` });
  image.addEventListener("load", () => URL.revokeObjectURL(url));
  image.addEventListener("error", () => image.remove());
  return image;
}

// An answer that comes after that to a later question is not shown.
async function send(options) {
  const own = ++asked;
  last = options;
  find("answer").setAttribute("aria-busy", "true");
  find("prediction").replaceChildren();
  find("explanation").replaceChildren();
  find("explain").hidden = true;
  say("Predicting.");
  try {
    const started = performance.now();
    const body = await call("predict", options);
    if (own !== asked) return;
    const milliseconds = Math.round(performance.now() - started);
    show(body.predictions[0], milliseconds);
  } catch (error) {
    if (own === asked) say(error.message, true);
  } finally {
    if (own === asked) find("answer").setAttribute("aria-busy", "false");
  }
}

function show(prediction, milliseconds) {
  if (prediction.error) {
    say(`It cannot be read: ${prediction.error}.`, true);
    return;
  }
  const parts = [];
  let words;
  if (prediction.label !== undefined) {
    words = `${prediction.label}, probability ${percent(prediction.score)}`;
    parts.push(make("p", { class: "label" }, name(prediction.label)));
  } else if (prediction.labels !== undefined) {
    const labels = prediction.labels.length ? prediction.labels : ["no label"];
    words = labels.join(", ");
    parts.push(make("p", { class: "label" }, ...joined(labels)));
  } else if (prediction.text !== undefined) {
    words = prediction.text || "no speech was recognized";
    parts.push(make("p", { class: prediction.text ? "transcript" : "note", dir: "auto" }, prediction.text || "No speech was recognized."));
    if (prediction.segments && prediction.segments.length) parts.push(makeSegments(prediction.segments));
  } else {
    words = Object.entries(prediction.values || {}).map(([key, value]) => `${key} ${round(value)}`).join(", ");
  }
  if (prediction.abstain) parts.push(make("p", { class: "note" }, "The model abstains: ", ...describeAbstention(prediction)));
  if (prediction.probabilities) parts.push(...makeBars(prediction));
  else if (prediction.values) parts.push(makeNumbers(prediction));
  find("prediction").replaceChildren(...parts);
  say(`${prediction.abstain ? "Abstains. " : ""}Predicted in ${milliseconds} ms: ${words}.`);
  find("explain").hidden = !card.explains;
  find("explain-button").disabled = false;
}

function describeAbstention(prediction) {
  const set = prediction.prediction_set || prediction.uncertain || [];
  if (!set.length) return ["it is not sure enough."];
  return ["it cannot decide between ", ...joined(set.slice(0, MOST_BARS)), "."];
}

function makeBars(prediction) {
  const sorted = Object.entries(prediction.probabilities).sort((a, b) => b[1] - a[1]);
  const chosen = new Set(prediction.labels || [prediction.label]);
  const rows = sorted.slice(0, MOST_BARS).map(([key, value]) =>
    make("tr", chosen.has(key) ? { class: "chosen" } : {},
      make("th", { scope: "row" }, name(key)),
      make("td", { class: "number" }, percent(value)),
      make("td", { class: "track", "aria-hidden": "true" }, makeBar(value))));
  const head = make("thead", { class: "hidden" }, make("tr", {},
    make("th", { scope: "col" }, "name"), make("th", { scope: "col" }, "probability"), make("th", { scope: "col" }, "as a bar")));
  const table = make("table", {}, make("caption", { class: "hidden" }, "Probabilities"), head, make("tbody", {}, ...rows));
  const rest = sorted.length - rows.length;
  return rest > 0 ? [table, make("p", { class: "more" }, `and ${rest.toLocaleString("en")} less probable ones`)] : [table];
}

function makeBar(share) {
  const draw = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const svg = draw("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" });
  svg.append(draw("rect", { class: "rail", width: 100, height: 10 }), draw("rect", { class: "bar", width: 100 * share, height: 10 }));
  return svg;
}

function makeNumbers(prediction) {
  const rows = Object.entries(prediction.values).map(([key, value]) => {
    const interval = prediction.intervals && prediction.intervals[key];
    const around = interval ? ` (${round(interval[0])} to ${round(interval[1])})` : "";
    return make("tr", {}, make("th", { scope: "row" }, name(key)), make("td", { class: "number" }, `${round(value)}${around}`));
  });
  return make("table", {}, make("caption", { class: "hidden" }, "Predicted numbers"), make("tbody", {}, ...rows));
}

function makeSegments(segments) {
  const seconds = (value) => (value === null ? "" : `${value.toFixed(2)} s`);
  const rows = segments.map((segment) => make("tr", {},
    make("td", { class: "number" }, seconds(segment.start)),
    make("td", { class: "number" }, seconds(segment.end)),
    make("td", { dir: "auto" }, segment.text)));
  const head = make("thead", {}, make("tr", {}, ...["from", "to", "text"].map((title) => make("th", { scope: "col" }, title))));
  return make("table", {}, make("caption", { class: "hidden" }, "When it was said"), head, make("tbody", {}, ...rows));
}

async function explain() {
  const own = asked;
  const button = find("explain-button");
  button.disabled = true;
  say("Explaining.");
  try {
    const body = await call("explain", last);
    if (own !== asked) return;
    find("explanation").replaceChildren(...makeExplanation(body));
    say("Explained below.");
  } catch (error) {
    if (own !== asked) return;
    say(error.message, true);
    button.disabled = false;
  }
}

function makeExplanation(body) {
  const parts = [];
  if (body.overlays.length) {
    const [what, how] = takesAudio() ? ["recording", "as the network hears it"] : ["image", "as the network sees it"];
    parts.push(make("p", { class: "hint" }, `Warm colours: where the ${what} speaks for it (Grad-CAM).`));
    const figures = [[how, body.image], ...body.outputs.map((output, place) => [output, body.overlays[place]])];
    parts.push(make("div", { class: "maps" }, ...figures.filter(([, source]) => source).map(([caption, source]) =>
      make("figure", {}, make("figcaption", {}, name(caption)), make("img", { src: source, alt: `Heat map: ${caption}` })))));
  }
  if (body.pieces.length) {
    const [first, second] = body.outputs;
    const against = second === undefined ? "" : `; orange and underlined: for ${second}`;
    parts.push(make("p", { class: "hint" }, `Blue: words that speak for ${first}${against}.`));
    const largest = Math.max(...body.pieces.map((piece) => Math.abs(piece.attribution)), 1e-9);
    parts.push(make("div", { class: "text", dir: "auto" }, ...body.pieces.map((piece) => {
      const level = LEVELS.filter((bound) => Math.abs(piece.attribution) / largest >= bound).length;
      return level ? make("mark", { class: `${piece.attribution > 0 ? "for" : "against"}${level}` }, piece.text) : piece.text;
    })));
  }
  if (body.note) parts.push(make("p", { class: "note" }, body.note));
  return parts;
}

function showCard() {
  const facts = { Predicts: card.target, ...card.facts, Format: `${card.format}, version ${card.version}` };
  const report = card.report;
  if (report) {
    const interval = report.interval ? `; 95 % interval ${report.interval[0]} to ${report.interval[1]}` : "";
    find("result").replaceChildren(
      make("p", { class: "figure" }, report.value),
      make("p", { class: "caption" }, `${report.name} on ${report.rows.toLocaleString("en")} ${report.split} rows${interval}`));
    Object.assign(facts, report.further);
  }
  const outputs = card.outputs.slice(0, 20);
  const more = card.output_count - outputs.length;
  const list = joined(outputs);
  if (more > 0) list.push(` and ${more.toLocaleString("en")} more`);
  find("facts").replaceChildren(
    ...Object.entries(facts).map(([key, value]) => make("div", {}, make("dt", {}, key.charAt(0).toUpperCase() + key.slice(1)), make("dd", {}, name(value)))),
    make("div", { class: "wide" }, make("dt", {}, "Outputs"), make("dd", {}, ...list)));
  find("card").hidden = false;
}

const percent = (value) => (value > 0 && value < 0.0005 ? "< 0.1 %" : `${(100 * value).toFixed(1)} %`);
const round = (value) => Number(value).toLocaleString("en", { maximumSignificantDigits: 5 });

const drop = find("drop");
find("file").addEventListener("change", (event) => {
  sendFile(event.target.files[0]);
  event.target.value = "";
});
find("explain-button").addEventListener("click", explain);
find("record").addEventListener("click", toggleRecording);
for (const type of ["dragenter", "dragover"]) {
  drop.addEventListener(type, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const type of ["dragleave", "drop"]) drop.addEventListener(type, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  sendFile(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const file = event.clipboardData && event.clipboardData.files[0];
  if (file && card && card.takes === "files") sendFile(file);
});
find("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("token").value.trim();
  find("texts").replaceChildren();
  start();
});
start();
