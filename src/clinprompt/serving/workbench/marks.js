// Highlight mentions in a note. Overlapping mentions each keep an underline in a lane of their own.

import { element } from "./elements.js";
import { slice, unitIndexes } from "./offsets.js";
import { isUnsure, shown } from "./sureness.js";

export const NUM_HUES = 8;
const LANE_HEIGHT = 5; // pixels
const LINE_WIDTH = 3;

/** Give each type of each task a hue, in the order in which they are met. */
export class Hues {
  #numbers = new Map();

  of(task, type) {
    const key = JSON.stringify([task, type]);
    if (!this.#numbers.has(key)) this.#numbers.set(key, this.#numbers.size);
    return this.#numbers.get(key) % NUM_HUES;
  }

  /** Return all types so far as [task, type, hue]. */
  get all() {
    return [...this.#numbers].map(([key, number]) => [...JSON.parse(key), number % NUM_HUES]);
  }
}

/** Return the mentions of all answers, with hues and lanes; a lane has no overlapping mentions. */
export function marksOf(answers, hues) {
  const marks = answers.flatMap((answer) =>
    (answer.entities ?? []).map((item) => ({
      ...item,
      task: answer.task,
      hue: hues.of(answer.task, item.type),
    })),
  );
  marks.sort((one, other) => one.start - other.start || other.end - one.end);
  const ends = [];
  for (const mark of marks) {
    const free = ends.findIndex((end) => end <= mark.start);
    mark.lane = free === -1 ? ends.length : free;
    ends[mark.lane] = mark.end;
  }
  return marks;
}

/** Cut a text of `length` code points wherever a mention or an end of a link begins or ends. */
export function segments(length, spans) {
  const cuts = new Set([0, length]);
  for (const { start, end } of spans) cuts.add(start).add(end);
  const places = [...cuts].sort((one, other) => one - other);
  return places.slice(1).map((end, at) => ({ start: places[at], end }));
}

/** Return the text as nodes; `linkEnds` are spans that links begin or end at. */
export function highlighted(text, marks, linkEnds, threshold) {
  const indexes = unitIndexes(text);
  const covers = ({ start, end }) => (span) => span.start <= start && end <= span.end;
  return segments(indexes.length - 1, [...marks, ...linkEnds]).flatMap((segment) => {
    const words = slice(text, segment.start, segment.end, indexes);
    const over = marks.filter(covers(segment));
    const isEnd = linkEnds.some(covers(segment));
    const ended = over.filter((mark) => mark.end === segment.end);
    const tags = ended.map((mark) => tagOf(mark, threshold));
    return over.length || isEnd ? [segmentOf(words, segment, over, isEnd, threshold), ...tags] : [words];
  });
}

export function segmentOf(words, { start, end }, over, isEnd, threshold) {
  const attributes = { "data-start": start, "data-end": end };
  if (!over.length) return element("span", { ...attributes, class: "link-end" }, words);
  const made = element("mark", { ...attributes, class: `hue-${over.at(-1).hue}` }, words);
  made.classList.toggle("link-end", isEnd);
  made.title = over.map((mark) => `${mark.type} (${mark.task}) ${shown(mark.probability)}`).join(", ");
  underline(made, over, threshold);
  return made;
}

function underline(made, over, threshold) {
  const depth = Math.max(...over.map((mark) => mark.lane)) + 1;
  const lines = over.map((mark) => {
    const color = `var(--hue-${mark.hue})`;
    return isUnsure(mark, threshold)
      ? `repeating-linear-gradient(90deg, ${color} 0 5px, transparent 5px 9px)`
      : `linear-gradient(${color}, ${color})`;
  });
  made.style.paddingBottom = `${depth * LANE_HEIGHT}px`;
  made.style.backgroundImage = lines.join(", ");
  made.style.backgroundSize = `100% ${LINE_WIDTH}px`;
  made.style.backgroundPosition = over
    .map((mark) => `0 calc(100% - ${(depth - 1 - mark.lane) * LANE_HEIGHT}px)`)
    .join(", ");
}

export function tagOf(mark, threshold) {
  const isLow = isUnsure(mark, threshold);
  const words = isLow ? `${mark.type} ? ${shown(mark.probability)}` : mark.type;
  return element("span", { class: `tag hue-${mark.hue}${isLow ? " unsure" : ""}` }, words);
}

/** Return the legend: a swatch, the type and the task of every hue in use. */
export function legendOf(hues) {
  const entries = hues.all.map(([task, type, hue]) =>
    element(
      "li",
      {},
      element("span", { class: `swatch hue-${hue}`, "aria-hidden": "true" }),
      element("span", {}, element("strong", {}, type), ` ${task}`),
    ),
  );
  return element("ul", { class: "legend", "aria-label": "Legend" }, ...entries);
}
