// Handwritten digits to show the net, a button each.

import * as pictures from "./pictures.js";

/** Fills an element with the digits, which `packed` holds, in base64, deflated by zlib. `show` is
 * called with the bytes of the one that is chosen. Returns what draws them again. */
export async function make(element, { packed, digits }, show) {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const images = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = images.length / digits.length;
  const drawn = digits.map((digit, i) => {
    const image = images.slice(i * size, (i + 1) * size);
    const [button, canvas] = [document.createElement("button"), pictures.blank()];
    button.type = "button";
    button.setAttribute("aria-label", `Show it a handwritten ${digit}`);
    button.append(canvas);
    button.addEventListener("click", () => show(image));
    element.append(button);
    return () => pictures.drawBytes(canvas, image);
  });
  const draw = () => drawn.forEach((each) => each());
  draw();
  return draw;
}
