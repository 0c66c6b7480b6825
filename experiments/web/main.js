// The page: it tells the worker what to do, and has what comes back shown.

import * as curves from "./curves.js";
import * as examples from "./examples.js";
import * as pads from "./pads.js";
import * as views from "./views.js";

const element = (id) => document.getElementById(id);
const text = (id) => element(id).textContent;
const model = JSON.parse(text("about-model"));
const AT_ONCE = { settle: 10, other: 100 }; // steps in place of motion, where that is not wanted
const still = matchMedia("(prefers-reduced-motion: reduce)");
const worker = new Worker(URL.createObjectURL(new Blob([text("worker")])));

let loaded = false;
let shown = null; // what is to be seen: the worker's last answer
let task = 0; // number of the last drawing or chain; answers to others come too late
let looking = false; // whether the worker has a drawing to answer
let waiting = null; // the drawing after that
let playing = false;
let begun = null; // how the chain began: its kind and label
let isFirst = true; // or a chain that a button begins has a new seed
let curve = curves.make();
let frame = 0; // that has been asked for

const send = (type, fields = {}) => worker.postMessage({ type, task, ...fields });
const run = () => send("run", { playing, speed: Number(element("speed").value) });

/** Draws what is to be seen, with the next frame of the screen. */
function render() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    view.render({ shown, loaded, playing, curve, isPadEmpty: pad.isEmpty });
    send("drawn");
  });
}

// What the buttons do.

function look(drawing) {
  if (looking) {
    waiting = drawing;
    return;
  }
  [task, looking, playing, begun] = [task + 1, true, false, null];
  send("look", drawing);
}

function clear() {
  pad.show();
  [task, waiting, shown, playing, begun] = [task + 1, null, null, false, null];
  send("clear");
  render();
}

function start(kind, label = null) {
  if (waiting) send("look", waiting); // what was drawn last
  if (!["settle", "image"].includes(kind)) pad.show();
  [task, waiting, begun, playing] = [task + 1, null, { kind, label }, !still.matches];
  curve = curves.make();
  if (kind !== "settle") element("mind").scrollIntoView({ block: "nearest" });
  const steps = still.matches ? AT_ONCE[kind] ?? AT_ONCE.other : 0;
  send("start", { kind, label, steps, seed: Number(element("seed").value) });
  run();
}

function startAnew(kind, label) {
  if (!isFirst) element("seed").value = (Number(element("seed").value) + 1) % 2 ** 32;
  isFirst = false;
  start(kind, label);
}

/** Holds a label in the dream that there is, or lets it go again; else begins one. */
function dreamOf(digit) {
  if (!loaded) return;
  if (!begun || begun.kind === "settle" || begun.kind === "each") startAnew("features", digit);
  else send("clamp", { label: shown.label === digit ? null : digit });
}

function play(wanted) {
  playing = wanted;
  run();
  render();
}

function advance(count) {
  if (playing) play(false);
  send("advance", { count });
}

const pad = pads.make(element("pad"), {
  begin: () => shown?.kind && shown.kind !== "settle" && pad.show(), // it is older than the dream
  change: () => {
    element("pad-hint").hidden = true;
    if (loaded) look({ strokes: pad.strokes, pen: pad.pen });
  },
});
const view = views.make(model, { dreamOf, choose: (row) => send("row", { row }) });

const actions = {
  clear,
  settle: () => startAnew("settle"),
  free: () => startAnew("features"),
  each: () => startAnew("each"),
  noise: () => startAnew("noise"),
  "from-drawing": () => startAnew("image"),
  play: () => play(!playing),
  step: () => advance(1),
  steps: () => advance(100),
  async copy() {
    await navigator.clipboard.writeText(text("lines"));
    element("copy").textContent = "Copied";
  },
};
for (const [id, action] of Object.entries(actions)) element(id).addEventListener("click", action);
element("speed").addEventListener("change", run);
element("seed").addEventListener("change", ({ target }) => {
  target.value = Math.min(Math.max(Math.floor(Number(target.value)) || 0, 0), 2 ** 32 - 1);
  if (begun) start(begun.kind, begun.label);
});
element("python").addEventListener("toggle", render);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
  if (/^[0-9]$/.test(event.key)) dreamOf(Number(event.key));
  if (event.key === " " && event.target === document.body && begun) {
    event.preventDefault(); // of scrolling
    play(!playing);
  }
});
document.addEventListener("visibilitychange", () => document.hidden && playing && play(false));

// What the worker answers.

const answers = {
  ready({ verified }) {
    loaded = true;
    view.tellModel(verified);
    render();
    if (!pad.isEmpty) look({ strokes: pad.strokes, pen: pad.pen });
  },
  seen(answer) {
    shown = answer;
    render();
  },
  moment({ energies, ...moment }) {
    shown = moment;
    for (const [step, each] of energies) curve.add(step, each);
    render();
  },
  failed({ message }) {
    view.tellFailure(message);
  },
};

worker.onmessage = ({ data: { type, task: of, ...answer } }) => {
  if (type === "seen") looking = false;
  if (of === task || type === "ready" || type === "failed") answers[type](answer);
  if (type === "seen" && waiting) {
    const next = waiting;
    waiting = null;
    look(next);
  }
};


// The examples, then the net.

async function begin() {
  element("examples-note").textContent = model.examples.note;
  const drawExamples = await examples.make(element("examples"), model.examples, (image) => {
    pad.show(image);
    look({ image });
  });
  const redraw = () => {
    pad.draw();
    drawExamples();
    render();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("resize", redraw);
  redraw();
  send("load", { model: text("model"), sha256: model.sha256 });
}

begin().catch((error) => view.tellFailure(
  `This browser is too old for the page (${error.message}). Those of 2023 and later can show it.`));
