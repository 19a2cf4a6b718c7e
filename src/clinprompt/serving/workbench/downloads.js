// Take answers out as files. They are made in the page; the columns are those of `clinprompt predict`.

import { element } from "./elements.js";

const SPAN = ["type", "text", "start", "end"];
const COLUMNS = [
  "line", "id", "task", "label", "text", "start", "end",
  ...SPAN.map((name) => `head_${name}`),
  ...SPAN.map((name) => `tail_${name}`),
  "probability", "ungrounded", "unparseable", "input_was_cut", "error",
];

/** Return one line of JSON for each note that was run. */
export function asJsonLines(notes) {
  const rows = notes.filter(wasRun).map(({ id, answers, seconds, error }) => (error ? { id, error } : { id, answers, seconds }));
  return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
}

/** Return a line of CSV for each mention, link, label or text. */
export function asCsv(notes) {
  const rows = notes.filter(wasRun).flatMap((note, at) => rowsOf(note, at + 1));
  const lines = rows.map((row) => COLUMNS.map((name) => cell(row[name])).join(","));
  return [COLUMNS.join(","), ...lines].map((line) => `${line}\n`).join("");
}

/** Return whether a note has answers, or an error of a task that was to answer it. */
export function wasRun(note) {
  return note.answers.length > 0 || note.state === "failed";
}

function rowsOf(note, line) {
  const same = { line, id: note.id };
  if (note.error) return [{ ...same, error: note.error }];
  return note.answers.flatMap((answer) => answerRows(answer, same));
}

function answerRows(answer, same) {
  const { task, label, text, probability, unparseable, input_was_cut } = answer;
  const all = { ...same, task, label, text, probability, unparseable, input_was_cut, ungrounded: answer.ungrounded?.length };
  const mentions = (answer.entities ?? []).map((item) => ({ ...all, ...item, label: item.type }));
  const links = (answer.relations ?? []).map((item) => ({
    ...all,
    label: item.type,
    probability: item.probability,
    ...endOf("head", item.head),
    ...endOf("tail", item.tail),
  }));
  const items = [...mentions, ...links];
  return items.length ? items : [all];
}

function endOf(name, span) {
  return Object.fromEntries(SPAN.map((part) => [`${name}_${part}`, span[part]]));
}

function cell(value) {
  const text = value === undefined || value === null ? "" : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Let the browser save a text as a file. */
export function save(name, type, text) {
  saveFile(name, new Blob([text], { type }));
}

/** Let the browser save a Blob as a file. */
export function saveFile(name, content) {
  const url = URL.createObjectURL(content);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
