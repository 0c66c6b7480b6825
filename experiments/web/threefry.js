// The random numbers of jax.random: Threefry-2x32 of twenty rounds (Salmon et al. 2011, "Parallel
// random numbers"), the keys and draws that JAX makes of it. A key is two words.

const ROTATIONS = [[13, 15, 26, 6], [17, 29, 16, 24]];
const PARITY = 0x1bd11bda;

/** The two words that a key makes of two others, into `out`. */
export function threefry2x32(key, x0, x1, out) {
  const keys = [key[0], key[1], key[0] ^ key[1] ^ PARITY];
  x0 = (x0 + keys[0]) | 0;
  x1 = (x1 + keys[1]) | 0;
  for (let i = 0; i < 5; i++) {
    for (const rotation of ROTATIONS[i % 2]) {
      x0 = (x0 + x1) | 0;
      x1 = x0 ^ ((x1 << rotation) | (x1 >>> (32 - rotation)));
    }
    x0 = (x0 + keys[(i + 1) % 3]) | 0;
    x1 = (x1 + keys[(i + 2) % 3] + i + 1) | 0;
  }
  out[0] = x0;
  out[1] = x1;
  return out;
}

/** jax.random.key(seed), of a seed below 2³². */
export const key = (seed) => Uint32Array.of(0, seed);

/** jax.random.fold_in(key, number); `split` makes the keys of 0, 1, … */
export const foldIn = (key, number) => threefry2x32(key, 0, number, new Uint32Array(2));

/** jax.random.split(key, count). */
export const split = (key, count = 2) => Array.from({ length: count }, (_, i) => foldIn(key, i));

/** jax.random.bits(key, shape): those of the places from `first` on, counted row by row. */
export function bits(key, count, first = 0) {
  const words = new Uint32Array(2);
  const drawn = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    threefry2x32(key, 0, first + i, words);
    drawn[i] = words[0] ^ words[1];
  }
  return drawn;
}

/** dbn_jax.random.bernoulli: 1 where a multiple of 2⁻²⁴ is below the probability, in float32. */
export function bernoulli(key, probabilities, first = 0) {
  const drawn = bits(key, probabilities.length, first);
  return probabilities.map((p, i) => Number((drawn[i] >>> 8) * 2 ** -24 < Math.fround(p)));
}

/** jax.random.categorical: the largest of logits and Gumbel noise of 23 bits. */
export function categorical(key, logits, first = 0) {
  const drawn = bits(key, logits.length, first);
  let chosen = 0;
  let largest = -Infinity;
  logits.forEach((logit, i) => {
    const uniform = Math.max((drawn[i] >>> 9) * 2 ** -23, 2 ** -126);
    const value = logit - Math.log(-Math.log(uniform));
    if (value > largest) [chosen, largest] = [i, value];
  });
  return chosen;
}
