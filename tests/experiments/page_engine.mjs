// Runs the page's engine on jobs that a test writes as JSON, and prints the answers as JSON.
//   node engine.mjs FOLDER_OF_MODULES JOBS_FILE

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , folder, jobsFile] = process.argv;
const load = (name) => import(pathToFileURL(`${folder}/${name}.js`));
const [threefry, modelFile, network, { Chain }, drawing, python] = await Promise.all(
  ["threefry", "model_file", "network", "chain", "drawing", "python_lines"].map(load));
const jobs = JSON.parse(readFileSync(jobsFile, "utf8"));
const bytesOf = (path) => new Uint8Array(readFileSync(path));
const net = jobs.model && network.fromModel(await modelFile.read(bytesOf(jobs.model)));

const ways = {
  read: async ({ path, sha256 }) => {
    try {
      const bytes = bytesOf(path);
      await modelFile.verify(bytes, sha256);
      await modelFile.read(bytes);
      return "read";
    } catch (error) {
      return error.message;
    }
  },
  verifyWithoutCrypto: async ({ path }) => {
    Object.defineProperty(globalThis, "crypto", { value: {} });
    return modelFile.verify(bytesOf(path), "any");
  },
  random: ({ seed }) => {
    const key = threefry.key(seed);
    return {
      split: threefry.split(key, 3).map((each) => Array.from(each)),
      folded: Array.from(threefry.foldIn(key, 1234567)),
      bits: Array.from(threefry.bits(key, 20)),
      rest: Array.from(threefry.bits(key, 10, 10)),
    };
  },
  known: ({ key, words }) =>
    Array.from(threefry.threefry2x32(Uint32Array.from(key), ...words, new Uint32Array(2))),
  classify: ({ images, count, width, height, normalised }) => {
    const bytes = bytesOf(images);
    const size = width * height;
    return Array.from({ length: count }, (_, i) => {
      let image = bytes.subarray(i * size, (i + 1) * size);
      if (normalised) image = drawing.normalise(image, width, height);
      return Array.from(network.classify(net, Array.from(image, (x) => Math.fround(x / 255))));
    });
  },
  strokes: ({ strokes, pen }) => Array.from(drawing.imageOf(strokes, pen)),
  normalise: ({ ink, width, height }) => Array.from(drawing.normalise(ink, width, height)),
  passes: ({ image }) => {
    const layers = network.upPass(net, image);
    return {
      up: layers.map((layer) => Array.from(layer)),
      down: Array.from(network.downPass(net, layers.at(-1))),
    };
  },
  chain: ({ start, then, packed }) => {
    const begin = performance.now();
    const chain = new Chain(net, start);
    for (const [label, steps] of then) {
      if (label !== undefined && chain.kind !== "each") chain.clamp(label);
      const { steps: done } = chain.parts.at(-1);
      for (let i = done; i < steps; i++) chain.advance();
    }
    const milliseconds = (performance.now() - begin) / chain.step;
    const moments = chain.rows.map((_, row) => chain.moment(row));
    const plain = (x) => Array.from(x);
    return {
      milliseconds,
      lines: python.ofChain(jobs.model, { ...start, parts: chain.parts, packed }),
      x: chain.rows.map(({ x }) => plain(x)),
      moments: moments.map(({ pixels, hidden, labels }) =>
        ({ pixels: plain(pixels), hidden: hidden.map(plain), labels: plain(labels) })),
      energies: chain.rows.map((_, row) => chain.energy(row)),
    };
  },
};

const answers = [];
for (const { way, ...job } of jobs.jobs) answers.push(await ways[way](job));
process.stdout.write(JSON.stringify(answers));
