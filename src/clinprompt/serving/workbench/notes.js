// The notes in this tab: read them from files, and put them in order. Nothing is stored elsewhere.

import { lowest } from "./answers.js";

let made = 0;

/** Return a note that has not been run. `fields` are its texts by the names that tasks use. */
export function makeNote(name, fields = { text: "" }, options = [], id = name) {
  made += 1;
  return { key: made, name, id, fields: { text: "", ...fields }, options, ...UNRUN };
}

const UNRUN = { state: "not run", answers: [], seconds: null, error: "", notAsked: [], ranOn: "" };

/** Forget the answers of a note, whose text has changed. */
export function clearAnswers(note) {
  Object.assign(note, UNRUN);
}

/** Return whether a note has nothing to run. */
export function isBlank(note) {
  return Object.values(note.fields).every((value) => !value.trim());
}

/** Return the notes of a file. Throws an Error in words for people if the file cannot be read. */
export async function notesOf(file) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name} is not UTF-8 text. Save it as UTF-8 and open it again.`);
  }
  if (/\.jsonl$/i.test(file.name)) return jsonLines(file.name, text);
  if (/\.txt$/i.test(file.name)) {
    return [makeNote(file.name, { text }, [], file.name.replace(/\.txt$/i, ""))];
  }
  throw new Error(`${file.name} is neither a .txt nor a .jsonl file.`);
}

function jsonLines(name, text) {
  return text.split("\n").flatMap((line, at) => (line.trim() ? [noteOfLine(name, line, at + 1)] : []));
}

function noteOfLine(name, line, number) {
  const place = `${name}, line ${number}`;
  let values;
  try {
    values = JSON.parse(line);
  } catch {
    throw new Error(`${place} is not JSON. Correct the line and open the file again.`);
  }
  if (values === null || typeof values !== "object" || Array.isArray(values)) {
    throw new Error(`${place} is not a JSON object such as {"id": "1", "text": "..."}.`);
  }
  const { id, options = [], ...rest } = values;
  const fields = Object.fromEntries(Object.entries(rest).filter(([, value]) => typeof value === "string"));
  if (!Object.keys(fields).length) throw new Error(`${place} has no text.`);
  const own = id === undefined || id === null ? "" : String(id);
  const choices = Array.isArray(options) ? options.map(String) : [];
  return makeNote(own || place, fields, choices, own || `${name}:${number}`);
}

/** Return the notes in an order: "added", or "unsure" with the lowest probability first. */
export function ordered(notes, order) {
  if (order !== "unsure") return [...notes];
  const rank = (note) => (note.state === "failed" ? -1 : (lowest(note.answers) ?? 2));
  return [...notes].sort((one, other) => rank(one) - rank(other) || one.key - other.key);
}
