// Say how sure the model is of an item, and mark what it is not sure of. Marks never rely on color.

import { element } from "./elements.js";

/** Return a probability in words; one rounded to 0 or 1 is not called certain. */
export function shown(probability) {
  if (probability === undefined || probability === null) return "";
  if (probability > 0.99 && probability < 1) return "> 0.99";
  if (probability < 0.01 && probability > 0) return "< 0.01";
  return probability.toFixed(2);
}

/** Return whether the model is less sure of an item than people want. */
export function isUnsure(item, threshold) {
  return item.probability !== undefined && item.probability < threshold;
}

/** Return the mark of what the model is not sure of. */
export function unsureMark() {
  return element("span", { class: "unsure-mark" }, "? unsure");
}

/** Return the probability of an item, with the mark if it is low. */
export function sureness(item, threshold) {
  return element("span", {}, shown(item.probability), isUnsure(item, threshold) ? unsureMark() : null);
}
