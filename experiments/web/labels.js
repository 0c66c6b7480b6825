// The ten label units: a button, a bar and a number each.

import * as words from "./words.js";

/** Fills a list with them; `press` is called with the digit that is pressed. */
export function make(list, count, press) {
  const rows = Array.from({ length: count }, (_, digit) => {
    const [item, button, track, fill, percent] =
      ["li", "button", "div", "div", "span"].map((name) => document.createElement(name));
    button.type = "button";
    button.textContent = digit;
    button.setAttribute("aria-label", `Dream of ${digit}`);
    button.addEventListener("click", () => press(digit));
    [track.className, fill.className, percent.className] = ["track", "fill", "percent"];
    track.append(fill);
    item.append(button, track, percent);
    list.append(item);
    return { item, button, fill, percent };
  });

  /** `labels` are probabilities, or undefined; the label `held` is clamped, if any is. */
  return ({ labels, held, enabled }) => {
    const largest = labels ? Math.max(...labels) : null;
    rows.forEach(({ item, button, fill, percent }, digit) => {
      const p = labels ? labels[digit] : 0;
      fill.style.transform = `scaleX(${p})`;
      percent.textContent = labels ? words.percent(p) : "";
      item.classList.toggle("most", p === largest);
      button.setAttribute("aria-pressed", digit === held);
      button.disabled = !enabled;
    });
  };
}
