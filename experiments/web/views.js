// All that the page shows beside the pad and the examples.

import * as labels from "./labels.js";
import * as pictures from "./pictures.js";
import * as python_lines from "./python_lines.js";
import * as words from "./words.js";

const SPOKEN = 2500; // milliseconds between two sentences for a screen reader
const element = (id) => document.getElementById(id);

/** What shows the state of the page; `dreamOf` is called with a label that is pressed, `choose`
 * with the one of ten dreams whose brain is wanted. */
export function make(model, { dreamOf, choose }) {
  const bars = labels.make(element("bars"), model.labels, dreamOf);
  const ten = makeTen(model.labels, choose);
  const layers = makeLayers(model.hidden);
  const speak = makeSpeaker(element("spoken"));

  function render({ shown, loaded, playing, curve, isPadEmpty }) {
    const isChain = Boolean(shown?.kind);
    const row = shown?.row ?? 0;
    const enabled = {
      clear: !isPadEmpty || shown,
      settle: loaded && !isPadEmpty, "from-drawing": loaded && !isPadEmpty,
      free: loaded, each: loaded, noise: loaded,
      play: isChain, step: isChain, steps: isChain, copy: shown,
    };
    for (const [id, wanted] of Object.entries(enabled)) element(id).disabled = !wanted;
    element("play").textContent = isChain && !playing ? "Play" : "Pause";
    element("pad-hint").hidden = !isPadEmpty;
    element("verdict").textContent = words.verdict(shown, loaded);
    element("mind-note").textContent = words.ofMind(shown);
    bars({
      labels: shown?.labels[row], enabled: loaded,
      held: shown?.kind === "each" ? row : shown?.label,
    });
    element("image").hidden = shown?.kind === "each";
    element("ten").hidden = shown?.kind !== "each";
    if (shown?.kind === "each") ten(shown.pixels, row);
    else pictures.drawImage(element("image"), shown?.pixels[0]);
    pictures.drawBytes(element("normalised"), shown?.image);
    layers(shown?.hidden);
    pictures.drawEnergy(element("energy"), isChain ? curve : { steps: [], rows: [] }, row);
    element("energy-note").textContent = words.ofEnergy(shown?.energy);
    if (element("python").open) renderLines(shown);
    speak(words.spoken(shown));
  }

  function renderLines(shown) {
    const lines = !shown ? words.NO_LINES
      : shown.kind ? python_lines.ofChain(model.path, shown)
      : python_lines.ofDrawing(model.path, shown.packed);
    if (lines === element("lines").textContent) return;
    element("lines").textContent = lines;
    element("copy").textContent = "Copy";
  }

  return {
    render,
    tellModel(isVerified) {
      element("facts").textContent = words.ofModel(model, isVerified);
    },
    tellFailure(message) {
      element("failed").textContent = message;
      element("failed").hidden = false;
      element("verdict").textContent = "";
    },
  };
}

/** Ten dreams at once, of which one is chosen. */
function makeTen(count, choose) {
  // Laid out like the keys of a telephone, the 0 last.
  const dreams = Array.from({ length: count }, (_, i) => (i + 1) % count).map((row) => {
    const [button, canvas] = [document.createElement("button"), pictures.blank()];
    button.type = "button";
    button.setAttribute("aria-label", `The dream of ${row}: show its brain`);
    button.append(canvas);
    button.addEventListener("click", () => choose(row));
    element("ten").append(button);
    return { button, canvas, row };
  });
  return (images, chosen) => dreams.forEach(({ button, canvas, row }) => {
    button.setAttribute("aria-pressed", row === chosen);
    pictures.drawImage(canvas, images[row]);
  });
}

/** The hidden layers, the top one above. */
function makeLayers(sizes) {
  const views = sizes.map((size, i) => {
    const [view, title, name, count, canvas] =
      ["div", "p", "b", "span", "canvas"].map((tag) => document.createElement(tag));
    name.textContent = i === sizes.length - 1 ? "Top layer" : `Layer ${i + 1}`;
    view.className = "layer";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `The units of the ${name.textContent.toLowerCase()}`);
    title.append(name, count);
    view.append(title, canvas);
    element("layers").prepend(view);
    return { size, count, canvas };
  });
  return (states) => views.forEach(({ size, count, canvas }, i) => {
    count.textContent = words.ofLayer(size, states?.[i]);
    pictures.drawUnits(canvas, states?.[i] ?? new Float64Array(size));
  });
}

/** Puts sentences where screen readers see them, no faster than they can be said. */
function makeSpeaker(place) {
  let [last, timer] = [-Infinity, 0];
  return function speak(sentence) {
    clearTimeout(timer);
    if (sentence === place.textContent) return;
    const wait = SPOKEN - (performance.now() - last);
    if (wait > 0) {
      timer = setTimeout(speak, wait, sentence);
      return;
    }
    place.textContent = sentence;
    last = performance.now();
  };
}
