// Show links: as arcs above the note, and as a table with the same content for all readers.

import { drawing, element, table } from "./elements.js";
import { isUnsure, shown, sureness } from "./sureness.js";

/** Return the links of all answers, with their tasks and hues. */
export function linksOf(answers, hues) {
  return answers.flatMap((answer) =>
    (answer.relations ?? []).map((link) => ({
      ...link,
      task: answer.task,
      hue: hues.of(answer.task, link.type),
    })),
  );
}

/** Return the table of links. */
export function linkTable(links, threshold) {
  const rows = links.map((link) => [
    link.type,
    link.head.text,
    link.tail.text,
    sureness(link, threshold),
    link.task,
  ]);
  return table("Links", ["Link", "From", "To", "Probability", "Task"], rows);
}

/** Draw the arcs over a note that is on the page; `note` is its positioned element. */
export function drawArcs(note, links, threshold) {
  note.querySelector("svg.arcs")?.remove();
  if (!links.length) return;
  const frame = note.getBoundingClientRect();
  const origin = { x: frame.left + note.clientLeft, y: frame.top + note.clientTop };
  const arcs = links.flatMap((link) => arcOf(note, link, origin, threshold));
  note.append(
    drawing("svg", { class: "arcs", "aria-hidden": "true", width: note.clientWidth, height: note.clientHeight }, ...arcs),
  );
}

function arcOf(note, link, origin, threshold) {
  const from = topOf(note, link.head, origin);
  const to = topOf(note, link.tail, origin);
  if (!from || !to) return [];
  const rise = Math.min(26, 12 + Math.abs(to.x - from.x) / 12);
  const path = `M ${from.x} ${from.y} C ${from.x} ${from.y - rise}, ${to.x} ${to.y - rise}, ${to.x} ${to.y}`;
  const isLow = isUnsure(link, threshold);
  const name = isLow ? `${link.type} ? ${shown(link.probability)}` : link.type;
  const place = { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 - rise * 0.75 + 4 };
  const tip = `M ${to.x} ${to.y} l -4 -7 h 8 z`;
  return [
    drawing("path", { d: path, class: `arc stroke-${link.hue}${isLow ? " unsure" : ""}` }),
    drawing("path", { d: tip, class: `fill-${link.hue}` }),
    drawing("text", { ...place, class: `arc-name fill-${link.hue}` }, name),
  ];
}

/** Return the middle of the top of a span's first line, or null if it is not on the page. */
function topOf(note, span, origin) {
  const parts = [...note.querySelectorAll("[data-start]")].filter(
    (part) => Number(part.dataset.start) >= span.start && Number(part.dataset.end) <= span.end,
  );
  const boxes = parts.flatMap((part) => [...part.getClientRects()]);
  if (!boxes.length) return null;
  const first = boxes.filter((box) => Math.abs(box.top - boxes[0].top) < 4);
  const left = Math.min(...first.map((box) => box.left));
  const right = Math.max(...first.map((box) => box.right));
  return { x: (left + right) / 2 - origin.x, y: boxes[0].top - origin.y };
}
