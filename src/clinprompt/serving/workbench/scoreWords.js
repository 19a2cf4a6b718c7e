// Say a score with its interval, in words and as a picture.

import { drawing } from "./elements.js";

/** Return the name of a metric as people write it. */
export function metricName(metric) {
  return metric.replaceAll("_", " ").replace(/\bf1\b/, "F1");
}

const FEWEST = 5; // notes whose score is shown with an interval

/** Return whether a score is shown with its interval. */
export function hasInterval({ num, low }) {
  return num >= FEWEST && low !== null;
}

/** Return whether right answers are counted instead of a score; texts are hardly ever the same. */
export function isCounted(task, { num }) {
  return num < FEWEST && task.answer !== "text";
}

/** Return a score on `num` notes in words; few notes have no interval. */
export function scoreWords(task, score) {
  const { num, num_right, value, low, high } = score;
  if (isCounted(task, score)) return `${num_right} of ${num} right`;
  if (value === null) return "no score: nothing to find";
  if (num < FEWEST) return value.toFixed(2);
  if (low === null && value === 0) return "0.00 (nothing right was found, so there is no interval)";
  if (low === null) return `${value.toFixed(2)} (no interval: these notes are all scored alike)`;
  return `${value.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}

/** Return a picture of a score between 0 and 1 with its interval; the words say the same. */
export function intervalBar({ value, low, high }) {
  const across = (part) => 2 + 196 * Math.min(1, Math.max(0, part));
  return drawing(
    "svg",
    { class: "interval", viewBox: "0 0 200 12", "aria-hidden": "true" },
    drawing("line", { class: "whole", x1: 2, x2: 198, y1: 6, y2: 6 }),
    drawing("line", { class: "part", x1: across(low), x2: across(high), y1: 6, y2: 6 }),
    drawing("circle", { class: "value", cx: across(value), cy: 6, r: 4 }),
  );
}
