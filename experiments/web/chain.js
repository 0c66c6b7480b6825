// Gibbs chains in the top RBM of a net: what dbn_jax.trajectories does, step by step, with the same
// draws. A chain begins in one of five ways and goes on in parts, of which each may clamp another
// label; all of it follows from the seed, so that its past tells its state.

import * as network from "./network.js";
import * as threefry from "./threefry.js";

/** Where chains begin. `settle` holds the features of an image, and lets the label make up its
 * mind; `image` and `noise` begin at an image or at random pixels; `features` at random features,
 * and `each` so for every label at once. */
export const KINDS = ["settle", "image", "noise", "features", "each"];

export class Chain {
  /**
   * @param net of `network.fromModel`.
   * @param kind one of KINDS.
   * @param seed whole number from 0 on.
   * @param label of `features`, `image` and `noise`: the label that is clamped; null for none.
   * @param image of `settle` and `image`: grey levels between 0 and 1.
   */
  constructor(net, { kind, seed, label = null, image = null }) {
    Object.assign(this, { net, kind, seed, image, step: 0 });
    const [pixelKey, startKey, chainKey] = threefry.split(threefry.key(seed), 3);
    this.chainKey = chainKey;
    const { numLabels } = net.top;
    if (kind === "noise") {
      this.image = threefry.bernoulli(pixelKey, new Float64Array(net.recognition[0].weights.rows).fill(0.5));
    }
    if (this.image) {
      this.rows = [this.#perceive(startKey)];
    } else {
      const labels = kind === "each" ? Array.from({ length: numLabels }, (_, i) => i) : [label];
      this.rows = labels.map((each, row) => this.#row(
        network.sampleFeatures(startKey, net, row), each === null ? null : network.oneHot(each, numLabels)));
    }
    this.parts = [];
    this.#begin(label);
    if (!this.image) this.advance();
  }

  /** trajectories.perceive: shows the net the image, the label units neutral. */
  #perceive(key) {
    const [upKey, topKey] = threefry.split(key);
    const states = network.sampleRecognition(upKey, this.net, this.image);
    const row = this.#row(states.at(-1), null);
    row.hidden = network.sampleHidden(topKey, row.inputs, 0);
    row.labels = network.labelMeans(this.net, row.hidden);
    return { ...row, seen: [this.image, ...states] };
  }

  #row(features, labels) {
    const x = network.join(this.net, features, labels);
    return { x, inputs: network.inputs(this.net.top.up, x) };
  }

  #begin(label) {
    const { numFeatures, numLabels } = this.net.top;
    this.parts.push({ label, steps: 0 });
    if (label !== null && this.rows.length === 1) {
      const [row] = this.rows;
      row.x.set(network.oneHot(label, numLabels), numFeatures);
      row.inputs = network.inputs(this.net.top.up, row.x);
    }
    const key = threefry.foldIn(this.chainKey, this.parts.length - 1);
    [this.gibbsKey, this.downKey] = threefry.split(threefry.foldIn(key, 0));
  }

  /** The label that is clamped; null if none is. */
  get label() {
    return this.parts.at(-1).label;
  }

  /** Goes on from where the chain is, with another label clamped, or none. */
  clamp(label) {
    if (this.label === label) return;
    if (!this.parts.at(-1).steps) this.parts.pop();
    this.#begin(label);
    this.advance();
  }

  /** One step of Gibbs sampling: the hidden units, then the visible ones that are not clamped. */
  advance() {
    const part = this.parts.at(-1);
    const [upKey, downKey] = threefry.split(threefry.foldIn(this.gibbsKey, part.steps));
    this.rows = this.rows.map((row, i) => this.#next(row, i, upKey, downKey));
    part.steps++;
    this.step++;
  }

  #next(row, i, upKey, downKey) {
    const { net } = this;
    const { numFeatures } = net.top;
    const hidden = network.sampleHidden(upKey, row.inputs, i);
    const { x, labels } = network.sampleVisible(downKey, net, hidden, i);
    if (this.kind === "settle") x.set(row.x.subarray(0, numFeatures));
    else if (this.kind === "each" || this.label !== null) {
      x.set(row.x.subarray(numFeatures), numFeatures);
    }
    return { x, hidden, labels, inputs: network.inputs(net.top.up, x) };
  }

  /** What is to be seen of a row: pixels, states of all hidden layers, probabilities of the
   * labels. The pixels are those shown before the first step, then the means after one pass down. */
  moment(row = 0) {
    const { x, hidden, labels, seen } = this.rows[row];
    const { numFeatures } = this.net.top;
    const states = seen ??
      network.sampleGeneration(this.downKey, this.net, x.subarray(0, numFeatures), row);
    const [pixels, ...below] = states;
    return { pixels, hidden: [...below, hidden], labels };
  }

  /** The free energy of a row's features and labels. */
  energy(row = 0) {
    const { x, inputs } = this.rows[row];
    return network.freeEnergy(this.net, x, inputs);
  }
}
