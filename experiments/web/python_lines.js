// What the page shows, as lines of Python that make it again. The draws are those of jax.random, so
// that the states are equal to the bit.

/** The lines of the answer to a drawing; `packed` is its image, packed by zlib, in base64. */
export const ofDrawing = (modelPath, packed) => `\
import base64, zlib
import jax.numpy as jnp, numpy as np
from dbn_jax import associative_memory, model_file

net = model_file.load("${modelPath}")
${image(packed)}
print(jnp.exp(associative_memory.classify(net, v)).round(4))
`;

/** The lines of the state of a chain: its kind, seed and parts are those of a \`chain.Chain\`;
 * `packed` is the image that it began from, if it did. */
export function ofChain(modelPath, { kind, seed, parts, packed }) {
  const lines = packed ? ["import base64, zlib"] : [];
  lines.push(
    `import jax, jax.numpy as jnp${packed ? ", numpy as np" : ""}`,
    "from dbn_jax import associative_memory, label_units, model_file, random, rbm, trajectories",
    "",
    `net = model_file.load("${modelPath}")`,
    `pixel_key, start_key, chain_key = random.split(jax.random.key(${seed}), 3)`,
    ...start(kind, parts[0].label, packed));
  if (parts[0].steps) lines.push(...steps(kind, parts));
  lines.push(
    "energies = rbm.free_energy(net.top, x).ravel()",
    'print([int(h.sum()) for h in moment.hidden], *(f"{energy:.1f}" for energy in energies))');
  return lines.join("\n") + "\n";
}

const image = (packed) => `\
pixels = zlib.decompress(base64.b64decode("${packed}"))
v = jnp.asarray(np.frombuffer(pixels, np.uint8) / np.float32(255))`;

function start(kind, label, packed) {
  const perceive = "moment, x = trajectories.perceive(start_key, net, v)";
  const fromLabels = (labels) =>
    `x = associative_memory.start_from_labels(start_key, net, jnp.${labels})`;
  switch (kind) {
    case "settle":
    case "image":
      return [image(packed), perceive];
    case "noise":
      return ["v = random.bernoulli(pixel_key, jnp.full(784, 0.5))", perceive];
    case "each":
      return [fromLabels("arange(10)")];
  }
  const neutral = "x = label_units.join(net.top, label_units.split(net.top, x)[0])";
  return label === null ? [fromLabels("array(0)"), neutral] : [fromLabels(`array(${label})`)];
}

function steps(kind, parts) {
  const mask = "label_units.mask(net.top)";
  const goOn = (key, clamped, count) =>
    `moments, x = trajectories.trajectory(${key}, net, x, ${clamped}, jnp.array([${count}]))`;
  const last = "moment = jax.tree.map(lambda each: each[0], moments)";
  const [{ label, steps: count }] = parts;
  if (parts.length === 1 && (label === null || kind === "features")) {
    const clamped = { settle: `~${mask}`, each: mask }[kind] ??
      (label === null ? `jnp.zeros(x.shape, bool)` : mask);
    return [goOn("random.fold_in(chain_key, 0)", clamped, count), last];
  }
  const pairs = parts.map((part) => `(${part.label ?? "None"}, ${part.steps})`).join(", ");
  return [
    `for part, (label, steps) in enumerate([${pairs}]):`,
    "    if label is not None:",
    "        x = x.at[-10:].set(jax.nn.one_hot(label, 10))",
    `    clamped = ${mask} & (label is not None)`,
    `    ${goOn("random.fold_in(chain_key, part)", "clamped", "steps")}`,
    last,
  ];
}
