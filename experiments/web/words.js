// What the page says.

/** A probability in per cent, exact enough to tell doubt from none. */
export function percent(p) {
  const isNearCertain = (p > 0.0005 && p < 0.0095) || (p > 0.9905 && p < 0.9995);
  return `${(100 * p).toFixed(isNearCertain ? 1 : 0)}\u00a0%`;
}

const named = (digit) => `${digit === 8 ? "an" : "a"}\u00a0${digit}`;
const count = (n) => n.toLocaleString("en");
const minus = (text) => text.replace("-", "−");

/** The labels from the most probable on, with their probabilities: "a 3, 98 %". */
const ranking = (labels) => Array.from(labels, (p, digit) => ({ digit, p }))
  .sort((a, b) => b.p - a.p)
  .map(({ digit, p }) => (
    { p, text: `${named(digit)}, ${p > 0.9995 ? "over 99.9\u00a0%" : percent(p)}` }));

/** The answer in a sentence: to a drawing, or at a step of a chain. */
export function verdict(shown, loaded = true) {
  if (!loaded) return "Loading the net …";
  if (!shown) return "Draw something. It always answers, for it knows nothing but digits.";
  const { kind, labels, row = 0, label, step } = shown;
  const [best, second] = ranking(labels[row]);
  if (kind === "each") return `Ten dreams, each with its label held. Step ${count(step)}.`;
  if (kind === "settle") return `Making up its mind, step ${count(step)}: ${best.text}.`;
  if (kind && label !== null) return `Dreaming of ${named(label)}, step ${count(step)}. Press ${label} again to let go.`;
  if (kind) return `Dreaming freely, step ${count(step)}: ${best.text}.`;
  if (best.p > 0.8) return `It takes this for ${best.text}.`;
  return `Perhaps ${best.text}; perhaps ${second.text}.`;
}

/** The same, shorter, for a screen reader that hears it again and again. */
export function spoken(shown) {
  if (!shown) return "";
  const [best] = ranking(shown.labels[shown.row ?? 0]);
  return `${shown.kind ? `Step ${count(shown.step)}, most` : "Most"} probable: ${best.text}`;
}

/** What the image in its mind is. */
export function ofMind(shown) {
  if (!shown) return "Empty, as long as nothing is drawn or dreamt.";
  const { kind, step, row } = shown;
  if (!kind) return "The drawing, taken up through all layers and down again.";
  if (kind === "settle") return "What the features of the drawing stand for. They are held; the label is free.";
  if (kind === "each") return `The brain and the bars are those of the dream of ${row}. Press another.`;
  if (step) return "The image that its features stand for at this step.";
  return kind === "noise" ? "The random pixels that it is shown." : "The drawing that it is shown.";
}

export const ofLayer = (size, states) => states
  ? `${count(Math.round(states.reduce((a, b) => a + b)))} of ${count(size)} on`
  : `${count(size)} units`;

export const ofEnergy = (energy = null) => energy === null
  ? "Here the free energy of a dream will be seen, step by step."
  : `Free energy of the memory: ${minus(energy.toFixed(1))} nats now. The lower, the more probable.`;

export const NO_LINES = "# Draw something, or let it dream.\n";

export const ofModel = ({ facts, path, sha256 }, isVerified) =>
  `${facts} ${path}, SHA-256 ${sha256}: ${isVerified
    ? "verified."
    : "not verified, since browsers compute it only for files and pages over https."}`;
