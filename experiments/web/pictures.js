// What is drawn on canvases: images of digits, units as squares, the curve of energy. Colours are
// those of the style sheet, so that they follow the system's dark mode.

const COLUMNS = 50; // units in a line
const CELL = 12; // dots of a unit, of which some are the gap
const GAP = 2;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const channels = (name) => colour(name).match(/\w\w/g).map((pair) => parseInt(pair, 16));

/** Grey levels between 0 and 1 as ink on paper; none is an empty image. */
export function drawImage(canvas, levels) {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const [paper, ink] = [channels("raised"), channels("ink")];
  for (let i = 0; i < picture.data.length / 4; i++) {
    const level = levels ? levels[i] : 0;
    for (let c = 0; c < 3; c++) picture.data[4 * i + c] = paper[c] + level * (ink[c] - paper[c]);
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

/** The same of bytes, or an empty image. */
export const drawBytes = (canvas, bytes) =>
  drawImage(canvas, bytes && Float64Array.from(bytes, (byte) => byte / 255));

/** A canvas for an image. */
export function blank() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 28;
  return canvas;
}

export function asCanvas(bytes) {
  const canvas = blank();
  drawBytes(canvas, bytes);
  return canvas;
}

/** The states or means of units, a square each. */
export function drawUnits(canvas, states) {
  canvas.width = COLUMNS * CELL - GAP;
  canvas.height = Math.ceil(states.length / COLUMNS) * CELL - GAP;
  const context = canvas.getContext("2d");
  const square = (i) =>
    context.rect((i % COLUMNS) * CELL, Math.floor(i / COLUMNS) * CELL, CELL - GAP, CELL - GAP);
  const draw = (name, alpha, chosen) => {
    context.beginPath();
    states.forEach((state, i) => chosen(state) && square(i));
    context.globalAlpha = alpha;
    context.fillStyle = colour(name);
    context.fill();
  };
  draw("faint", 1, () => true);
  const shades = 8;
  for (let shade = 1; shade <= shades; shade++) {
    draw("ink", shade / shades, (state) => Math.round(state * shades) === shade);
  }
}

/** A curve for each row of energies over steps, the chosen one in colour; the axes tell the range. */
export function drawEnergy(canvas, { steps, rows }, chosen) {
  const scale = devicePixelRatio;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  [canvas.width, canvas.height] = [width * scale, height * scale];
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = `12px ${getComputedStyle(canvas).fontFamily}`;
  context.fillStyle = colour("muted");
  context.strokeStyle = colour("line");
  const [left, bottom, top] = [44, height - 20, 8];
  context.beginPath();
  context.moveTo(left, bottom + 0.5);
  context.lineTo(width, bottom + 0.5);
  context.stroke();
  if (!steps.length) return;
  let [low, high] = [Infinity, -Infinity];
  for (const energy of rows.flat()) [low, high] = [Math.min(low, energy), Math.max(high, energy)];
  [low, high] = [Math.floor(low - 1), Math.ceil(high + 1)];
  const [first, last] = [steps[0], Math.max(steps.at(-1), steps[0] + 30)];
  const x = (step) => left + ((step - first) / (last - first)) * (width - left - 2);
  const y = (energy) => bottom - ((energy - low) / (high - low)) * (bottom - top);
  const minus = (n) => String(n).replace("-", "−");
  context.textAlign = "right";
  context.fillText(minus(high), left - 8, top + 8);
  context.fillText(minus(low), left - 8, bottom);
  context.fillText(`step ${last.toLocaleString("en")}`, width, height - 4);
  context.textAlign = "left";
  context.fillText(`${first.toLocaleString("en")}`, left, height - 4);
  const line = (curve, name, alpha, lineWidth) => {
    context.beginPath();
    context.globalAlpha = alpha;
    curve.forEach((energy, i) => context.lineTo(x(steps[i]), y(energy)));
    [context.strokeStyle, context.lineWidth, context.lineJoin] = [colour(name), lineWidth, "round"];
    context.stroke();
  };
  rows.forEach((curve, row) => row !== chosen && line(curve, "muted", 0.4, 1));
  line(rows[chosen], "accent", 1, 1.75);
}
