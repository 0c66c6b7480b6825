// A deep belief net of binary units whose top RBM sees label units beside the features: what
// dbn_jax.dbn, label_units and associative_memory compute, in the same order of draws. Sums are in
// float64; states are few and sparse, so that a product with a matrix is a sum of a few rows.

import * as threefry from "./threefry.js";

/** The net of a model, as `model_file.read` gives it. Each layer has the weights that it needs,
 * by rows of the side that they are multiplied with, and the biases of the other side. */
export function fromModel(model) {
  const tied = model.class === "DBN";
  const recognition = tied ? model.layers.slice(0, -1) : model.recognition;
  const generative = tied ? model.layers.slice(0, -1) : model.generative;
  const top = tied ? model.layers.at(-1) : model.top;
  const [features, labels] = top.visible.parts;
  return {
    recognition: recognition.map((rbm) => ({ weights: rbm.weights, bias: rbm.hidden.bias })),
    generative: generative.map((rbm) => ({ weights: transpose(rbm.weights), bias: rbm.visible.bias })),
    top: {
      up: { weights: top.weights, bias: top.hidden.bias },
      down: {
        weights: transpose(top.weights),
        bias: Float32Array.of(...features.bias, ...labels.bias),
      },
      numFeatures: features.bias.length,
      numLabels: labels.bias.length,
    },
  };
}

function transpose({ rows, columns, data }) {
  const turned = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) turned[j * rows + i] = data[i * columns + j];
  }
  return { rows: columns, columns: rows, data: turned };
}

/** The total inputs of a layer's units, biases included, given the states of the other side. */
export function inputs({ weights: { columns, data }, bias }, states) {
  const total = new Float64Array(bias);
  const on = [];
  states.forEach((state, i) => state && on.push(i));
  // Four rows in each pass over the totals take a fifth of the time of a pass for each.
  for (let k = 0; k < on.length; k += 4) {
    const four = [on[k], on[k + 1], on[k + 2], on[k + 3]];
    const [s0, s1, s2, s3] = four.map((i) => states[i] ?? 0);
    const [r0, r1, r2, r3] = four.map((i) => (i ?? 0) * columns);
    for (let j = 0; j < columns; j++) {
      total[j] += s0 * data[r0 + j] + s1 * data[r1 + j] + s2 * data[r2 + j] + s3 * data[r3 + j];
    }
  }
  return total;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const means = (layer, states) => inputs(layer, states).map(sigmoid);
const sample = (key, layer, states, first) =>
  threefry.bernoulli(key, means(layer, states), first * layer.bias.length);

function softmax(logits) {
  const largest = Math.max(...logits);
  const weights = Float64Array.from(logits, (x) => Math.exp(x - largest));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((w) => w / total);
}

/** Features and labels as visible states of the top RBM; labels are neutral if not given. */
export function join({ top: { numFeatures, numLabels } }, features, labels) {
  const x = new Float64Array(numFeatures + numLabels);
  x.set(features);
  x.set(labels ?? new Float64Array(numLabels).fill(Math.fround(1 / numLabels)), numFeatures);
  return x;
}

export const oneHot = (label, count) => Float64Array.from({ length: count }, (_, i) => +(i === label));

/** dbn.recognise, after the image itself: the means of the layers below the top, given those below
 * them; the last are the features. */
function recognise(net, image) {
  const layers = [];
  for (const layer of net.recognition) layers.push(means(layer, layers.at(-1) ?? image));
  return layers;
}

/** dbn.up_pass: the means of every hidden layer, label units neutral. */
export function upPass(net, image) {
  const layers = recognise(net, image);
  return [...layers, means(net.top.up, join(net, layers.at(-1)))];
}

/** dbn.down_pass: the pixels' means given means of the last hidden layer. */
export function downPass(net, hidden) {
  let x = means(net.top.down, hidden).subarray(0, net.top.numFeatures);
  for (const layer of net.generative.toReversed()) x = means(layer, x);
  return x;
}

/** associative_memory.classify: p(label | image), exact given the features' means. */
export function classify(net, image) {
  const { top } = net;
  const fromFeatures = inputs(top.up, recognise(net, image).at(-1));
  return softmax(Array.from({ length: top.numLabels }, (_, label) => {
    const row = (top.numFeatures + label) * top.up.weights.columns;
    let total = top.down.bias[top.numFeatures + label];
    fromFeatures.forEach((x, j) => (total += softplus(x + top.up.weights.data[row + j])));
    return total;
  }));
}

/** Free energy of visible states of the top RBM, whose hidden `inputs` are given; in nats. */
export function freeEnergy({ top }, x, hiddenInputs) {
  let energy = 0;
  for (let i = 0; i < x.length; i++) energy -= top.down.bias[i] * x[i];
  for (const total of hiddenInputs) energy -= softplus(total);
  return energy;
}

/** dbn.sample_recognition: the states of the layers below the top. */
export function sampleRecognition(key, net, image) {
  const keys = threefry.split(key, net.recognition.length);
  const states = [];
  net.recognition.forEach((layer, i) => states.push(sample(keys[i], layer, states.at(-1) ?? image, 0)));
  return states;
}

/** dbn.sample_generation: pixels' means, and states of the layers above, of features of the chain
 * in row `row` of a batch. */
export function sampleGeneration(key, net, features, row) {
  const keys = threefry.split(key, net.generative.length);
  const states = [features];
  for (let i = net.generative.length - 1; i >= 0; i--) {
    const layer = net.generative[i];
    const [, layerKey] = threefry.split(keys[i]);
    states.unshift(i ? sample(layerKey, layer, states[0], row) : means(layer, states[0]));
  }
  return states;
}

/** A draw from p(h | x), given the hidden `inputs`. */
export const sampleHidden = (key, hiddenInputs, row) =>
  threefry.bernoulli(key, hiddenInputs.map(sigmoid), row * hiddenInputs.length);

/** A draw x from p(x | h), features and label, and the probabilities of the labels. */
export function sampleVisible(key, { top }, hidden, row) {
  const [featureKey, labelKey] = threefry.split(key);
  const total = inputs(top.down, hidden);
  const logits = total.subarray(top.numFeatures);
  const x = new Float64Array(total.length);
  x.set(threefry.bernoulli(
    featureKey, total.subarray(0, top.numFeatures).map(sigmoid), row * top.numFeatures));
  x[top.numFeatures + threefry.categorical(labelKey, logits, row * top.numLabels)] = 1;
  return { x, labels: softmax(logits) };
}

/** The probabilities of the labels given the last hidden layer. */
export const labelMeans = ({ top }, hidden) =>
  softmax(inputs(top.down, hidden).subarray(top.numFeatures));

/** associative_memory.start_from_labels, of one row: features drawn from their biases alone. */
export const sampleFeatures = (key, { top }, row) =>
  threefry.bernoulli(key, Float64Array.from(top.down.bias.subarray(0, top.numFeatures), sigmoid),
    row * top.numFeatures);
