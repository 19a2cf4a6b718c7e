// Show the answers on one note: highlighted text, links, labels and summaries.

import { NOTHING_FOUND } from "./answerWords.js";
import { many } from "./counts.js";
import { byId, element, table } from "./elements.js";
import { drawArcs, linksOf, linkTable } from "./links.js";
import { highlighted, Hues, legendOf, marksOf } from "./marks.js";
import { isUnsure, shown, sureness, unsureMark } from "./sureness.js";
import { servedTask } from "./tasks.js";

let drawAgain = () => {};

/** Redraw what depends on the width of the page. */
export function watchWidth() {
  new ResizeObserver(() => drawAgain()).observe(byId("results"));
}

/** Show the answers on a note, or nothing if there are none. */
export function showResults(note, threshold) {
  const place = byId("results");
  drawAgain = () => {};
  place.replaceChildren();
  if (note.error) place.append(element("p", { class: "error", role: "alert" }, note.error));
  if (note.notAsked.length) place.append(notAskedList(note.notAsked));
  if (!note.answers.length) return;
  place.append(
    element("p", { class: "timing" }, `Answered in ${note.seconds.toFixed(2)} s.`),
    element("div", { class: "columns" }, annotated(note, threshold), beside(note, threshold)),
  );
  drawAgain();
}

function notAskedList(reasons) {
  const items = reasons.map((reason) => element("li", {}, reason));
  return element("div", { class: "notice" }, element("p", {}, "Not asked:"), element("ul", {}, ...items));
}

function annotated(note, threshold) {
  const hues = new Hues();
  const marks = marksOf(note.answers, hues);
  const links = linksOf(note.answers, hues);
  const ends = links.flatMap((link) => [link.head, link.tail]);
  const text = element(
    "div",
    { class: links.length ? "note with-arcs" : "note", id: "annotated", role: "region", "aria-label": "Note with highlights" },
    ...highlighted(note.fields.text, marks, ends, threshold),
  );
  drawAgain = () => drawArcs(text, links, threshold);
  return element(
    "div",
    { class: "main-column" },
    hues.all.length ? legendOf(hues) : null,
    text,
    marks.length ? mentionTable(marks, threshold) : null,
    links.length ? linkTable(links, threshold) : null,
  );
}

function mentionTable(marks, threshold) {
  const rows = marks.map((mark) => [mark.text, mark.type, sureness(mark, threshold), mark.task]);
  return element(
    "details",
    {},
    element("summary", {}, marks.length === 1 ? "The mention as a table" : `All ${marks.length} mentions as a table`),
    table("Mentions", ["Mention", "Type", "Probability", "Task"], rows),
  );
}

function beside(note, threshold) {
  const cards = note.answers.map((answer) => cardOf(answer, note, threshold));
  return element("div", { class: "side-column" }, ...cards);
}

/** Return the card of one task's answer; of mentions and links it only counts them. */
function cardOf(answer, note, threshold) {
  const task = servedTask(answer.task);
  const title = task && task.title !== task.name ? element("p", { class: "hint" }, task.title) : null;
  const parts = [element("h3", {}, answer.task), title, ...contentOf(answer, note, threshold)];
  if (answer.ungrounded?.length) {
    parts.push(element("p", { class: "notice" }, `Not found in the note: ${answer.ungrounded.join("; ")}`));
  }
  if (answer.input_was_cut) {
    parts.push(element("p", { class: "notice" }, "The note was too long for the model: it was read in part."));
  }
  if (task && !task.is_trained) {
    parts.push(element("p", { class: "notice" }, "The prompt is untrained (zero-shot): it has seen no example of this task."));
  }
  parts.push(promptSize(task));
  return element("section", { class: "card" }, ...parts);
}

/** Return how large the prompt of a task is, if the server says so. */
function promptSize(task) {
  const size = task?.prompt;
  if (!size) return null;
  const bytes = size.bytes < 1e6 ? `${Math.round(size.bytes / 1e3)} kB` : `${(size.bytes / 1e6).toFixed(1)} MB`;
  return element("p", { class: "hint" }, `Prompt: ${size.positions} positions, ${bytes}`);
}

function contentOf(answer, note, threshold) {
  if (answer.unparseable !== undefined) {
    return [element("p", { class: "notice" }, `? The model's answer has no valid form: ${answer.unparseable}`)];
  }
  if (answer.entities) return [counted(answer.entities, "mention", threshold)];
  if (answer.relations) return [counted(answer.relations, "link", threshold)];
  if (answer.label !== undefined) return [labelOf(answer, note, threshold)];
  return [element("p", { class: "summary" }, answer.text || "(an empty text)")];
}

function labelOf(answer, note, threshold) {
  const meter = element("meter", { min: 0, max: 1, value: answer.probability ?? 0, "aria-hidden": "true" });
  const has = answer.probability !== undefined;
  return element(
    "p",
    { class: "label" },
    element("strong", {}, nameOf(answer.label, note)),
    has ? element("span", {}, ` probability ${shown(answer.probability)} `) : null,
    has ? meter : null,
    isUnsure(answer, threshold) ? unsureMark() : null,
  );
}

/** Return a label; the letter of an option is followed by the option. */
function nameOf(label, note) {
  const option = /^[A-Z]$/.test(label) ? note.options[label.charCodeAt(0) - 65] : undefined;
  return option === undefined ? label : `${label}: ${option}`;
}

function counted(items, word, threshold) {
  const unsure = items.filter((item) => isUnsure(item, threshold)).length;
  const number = items.length === 0 ? NOTHING_FOUND : many(items.length, word);
  return element("p", {}, unsure ? `${number}, ${unsure} of them unsure (marked “?”)` : number);
}
