// From strokes of a pen to an image as MNIST has them. There a digit fills a box of 20×20 pixels in
// the longer direction, grey at its edges, and the box lies in 28×28 pixels so that its centre of
// mass is in the middle: a net that has learnt such images gets half of the others wrong.

export const SIZE = 28;
const BOX = 20;
const PEN = 2.4; // width of a stroke in pixels of the image
const FINE = 8; // fine dots in the length of a pixel

/** The image of strokes, in bytes. A stroke is [x, y, x, y, …]; a pen is as wide as `pen` there. */
export function imageOf(strokes, pen) {
  const points = strokes.flat();
  if (!points.length) return new Uint8Array(SIZE * SIZE);
  const xs = points.filter((_, i) => i % 2 === 0);
  const ys = points.filter((_, i) => i % 2 === 1);
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  // A pen keeps its width however large the drawing is; a dot stays a dot.
  const length = Math.max(Math.max(...xs) - left, Math.max(...ys) - top, 3 * pen);
  const scale = ((BOX - PEN) * FINE) / length;
  const width = BOX * FINE;
  const ink = new Uint8Array(width * width);
  const at = (x, origin) => (x - origin) * scale + (PEN * FINE) / 2;
  for (const stroke of strokes) {
    for (let i = 0; i < stroke.length; i += 2) {
      const before = Math.max(i - 2, 0);
      drawLine(ink, width, at(stroke[before], left), at(stroke[before + 1], top),
        at(stroke[i], left), at(stroke[i + 1], top), (PEN * FINE) / 2);
    }
  }
  return normalise(ink, width, width, FINE);
}

/** Fills the fine dots that lie within a radius of a line. */
function drawLine(ink, width, x0, y0, x1, y1, radius) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const square = dx * dx + dy * dy;
  const from = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - radius));
  const to = (a, b) => Math.min(width - 1, Math.ceil(Math.max(a, b) + radius));
  for (let y = from(y0, y1); y <= to(y0, y1); y++) {
    for (let x = from(x0, x1); x <= to(x0, x1); x++) {
      const [px, py] = [x + 0.5 - x0, y + 0.5 - y0];
      const along = square ? Math.min(1, Math.max(0, (px * dx + py * dy) / square)) : 0;
      const [ex, ey] = [px - along * dx, py - along * dy];
      if (ex * ex + ey * ey <= radius * radius) ink[y * width + x] = 255;
    }
  }
}

/** The image, in bytes, of ink of any size at any place in a sheet, in bytes: scaled so that its
 * longer side is that of the box, or by `step` dots for each pixel. */
export function normalise(ink, width, height, step = null) {
  let [left, right, top, bottom, total, xMass, yMass] = [width, -1, height, -1, 0, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = ink[y * width + x];
      if (!value) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
      total += value;
      xMass += value * (x + 0.5);
      yMass += value * (y + 0.5);
    }
  }
  const image = new Uint8Array(SIZE * SIZE);
  if (!total) return image;
  step ??= Math.max(right - left + 1, bottom - top + 1) / BOX;
  // Each pixel is the mean of the square of ink that it covers.
  const columns = shares(origin(left, right, xMass / total, step), step, width);
  const rows = shares(origin(top, bottom, yMass / total, step), step, height);
  for (let i = 0; i < SIZE; i++) {
    for (let j = 0; j < SIZE; j++) {
      let sum = 0;
      for (const [y, yShare] of rows[i]) {
        for (const [x, xShare] of columns[j]) sum += yShare * xShare * ink[y * width + x];
      }
      image[i * SIZE + j] = Math.round(sum);
    }
  }
  return image;
}

/** Where in a line of ink the image begins. The box begins with the ink, and is moved by whole pixels
 * until its mass lies in the pixel after the middle, or the box would leave the image. */
function origin(first, last, mass, step) {
  const length = Math.ceil((last - first + 1) / step);
  const moved = Math.ceil(SIZE / 2 - (mass - first) / step);
  return first - Math.min(Math.max(moved, 0), SIZE - length) * step;
}

/** For each pixel in a line, which dots it covers, and with what share of itself. */
function shares(first, step, count) {
  return Array.from({ length: SIZE }, (_, i) => {
    const [start, end] = [first + i * step, first + (i + 1) * step];
    const covered = [];
    for (let x = Math.max(0, Math.floor(start)); x < Math.min(count, end); x++) {
      covered.push([x, (Math.min(end, x + 1) - Math.max(start, x)) / step]);
    }
    return covered;
  });
}
