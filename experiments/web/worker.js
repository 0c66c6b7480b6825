// The net at work, beside the page, so that drawing never waits for it. Each message that comes in
// is one command, each that goes out says what is to be seen:
//
//   load {model, sha256}          → ready {verified} or failed {message}
//   look {strokes, pen} or {image} → seen {image, packed, posterior, hidden, pixels}
//   start {kind, seed, label, steps}, clamp {label}, advance {count}, row {row},
//   run {playing, speed}          → moment {…}, again and again while it is playing
//   clear                         → nothing, and no moment any more
//
// While it plays, the next moment waits for drawn {}: a page that is slow to draw misses some.

import * as chain from "./chain.js";
import * as drawing from "./drawing.js";
import * as model_file from "./model_file.js";
import * as network from "./network.js";

const FRAME = 33; // milliseconds between two moments
const BUSY = 24; // of these, at most so many at work

let task = 0; // of the page, which every answer names
let net = null;
let image = null; // the last that it was shown, in bytes
let packed = ""; // the same for a line of Python
let gibbs = null; // the chain
let row = 0; // of which the brain is shown
let timer = 0; // of the next tick; speed is in steps a second, of which some may be owed since last
let [speed, owed, last] = [0, 0, 0];
let isDrawn = true; // the last moment
let energies = []; // since the last moment: [step, energy of each row]

const commands = {
  async load({ model, sha256 }) {
    const bytes = Uint8Array.from(atob(model), (letter) => letter.charCodeAt(0));
    const verified = await model_file.verify(bytes, sha256);
    net = network.fromModel(await model_file.read(bytes));
    answer("ready", { verified });
  },
  async look({ strokes, pen, image: shown }) {
    gibbs = null;
    image = shown ?? drawing.imageOf(strokes, pen);
    const layers = network.upPass(net, greyLevels());
    packed = await pack(image);
    answer("seen", {
      image, packed,
      labels: [network.classify(net, greyLevels())],
      hidden: layers, pixels: [network.downPass(net, layers.at(-1))],
    });
  },
  start({ kind, seed, label, steps }) {
    const shown = ["settle", "image"].includes(kind) ? greyLevels() : null;
    gibbs = new chain.Chain(net, { kind, seed, label, image: shown });
    [row, owed, energies] = [0, 0, []];
    note();
    for (let i = 0; i < steps; i++) advance();
    show();
  },
  clamp({ label }) {
    gibbs.clamp(label);
    note();
    show();
  },
  advance({ count }) {
    for (let i = 0; i < count; i++) advance();
    show();
  },
  row({ row: chosen }) {
    row = chosen;
    show();
  },
  run(wanted) {
    clearTimeout(timer);
    speed = wanted.speed;
    last = performance.now();
    if (wanted.playing) timer = setTimeout(tick, FRAME);
    else if (gibbs) show(); // what it has come to
  },
  clear() {
    gibbs = null;
  },
  drawn() {
    isDrawn = true;
  },
};

const answer = (type, fields) => postMessage({ type, task, ...fields });
const greyLevels = () => Float64Array.from(image, (byte) => Math.fround(byte / 255));

/** An image packed by zlib, in base64: a line of Python can hold it. */
async function pack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  return btoa(String.fromCharCode(...packed));
}

function advance() {
  gibbs.advance();
  note();
}

const note = () => energies.push([gibbs.step, gibbs.rows.map((_, i) => gibbs.energy(i))]);

/** As many steps as the time that passed is worth, but no more than the time allows. */
function tick() {
  if (!gibbs) return;
  timer = setTimeout(tick, FRAME);
  const now = performance.now();
  owed = Math.min(owed + ((now - last) / 1000) * speed, speed);
  last = now;
  for (; owed >= 1 && performance.now() - now < BUSY; owed--) advance();
  if (energies.length && isDrawn) show();
}

function show() {
  const moments = gibbs.rows.map((_, i) => gibbs.moment(i));
  const { kind, seed, step, parts, label } = gibbs;
  answer("moment", {
    ...(gibbs.kind === "settle" || gibbs.kind === "image" ? { image, packed } : {}),
    kind, seed, step, parts, label, row, energies,
    pixels: moments.map((moment) => moment.pixels),
    labels: moments.map((moment) => moment.labels),
    hidden: moments[row].hidden,
    energy: gibbs.energy(row),
  });
  [energies, isDrawn] = [[], false];
}

// One after the other: some wait for a stream.
let queue = Promise.resolve();
onmessage = ({ data: { type, task: of, ...command } }) => {
  queue = queue.then(() => {
    task = of;
    return commands[type](command);
  }).catch((error) => answer("failed", { message: error.message }));
};
