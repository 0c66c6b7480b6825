// The pad: strokes by mouse, finger or pen, in dots of the canvas; or an image that it shows.

import * as pictures from "./pictures.js";

const WIDTH = 0.075; // of the pen, as a share of the pad

/** Makes a canvas a pad. `begin` is called when a stroke begins, `change` when it has grown. */
export function make(canvas, { begin, change }) {
  const context = canvas.getContext("2d");
  const pen = WIDTH * canvas.width;
  let strokes = [];
  let shown = null; // the bytes of an image
  let pointer = null;

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  const draw = () => {
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (shown) context.drawImage(pictures.asCanvas(shown), 0, 0, canvas.width, canvas.height);
    context.strokeStyle = getComputedStyle(canvas).color;
    [context.lineWidth, context.lineCap, context.lineJoin] = [pen, "round", "round"];
    for (const stroke of strokes) {
      context.beginPath();
      context.moveTo(stroke[0], stroke[1]);
      for (let i = 0; i < stroke.length; i += 2) context.lineTo(stroke[i], stroke[i + 1]);
      context.stroke();
    }
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button) return;
    event.preventDefault();
    begin();
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    shown = null;
    strokes.push(place(event));
    draw();
    change();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const coalesced = event.getCoalescedEvents?.() ?? [];
    for (const each of coalesced.length ? coalesced : [event]) strokes.at(-1).push(...place(each));
    draw();
    change();
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(end, (event) => event.pointerId === pointer && (pointer = null));
  }
  return {
    pen,
    draw,
    get strokes() {
      return strokes;
    },
    get isEmpty() {
      return !strokes.length && !shown;
    },
    /** Puts the bytes of an image in the place of the strokes; or nothing. */
    show(image = null) {
      [strokes, shown] = [[], image];
      pointer = null;
      draw();
    },
  };
}
