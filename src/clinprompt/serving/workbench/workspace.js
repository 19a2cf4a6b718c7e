// Ask the server for what its workspace has: tasks, notes, corrections, adaptations and files.

import { ask, read, send } from "./api.js";

const ROOT = "../v1/workspace";
const MOST_BYTES = 900_000; // of the notes in one request
const MOST_NOTES = 500;

const pathOf = (task) => `${ROOT}/tasks/${encodeURIComponent(task)}`;

/** Return an error in words for people; what the server says of a task or a field says enough. */
export function wordsOf(error) {
  return [404, 409, 413, 422].includes(error.status) && error.detail ? error.detail : error.message;
}

async function sent(path, body = {}) {
  return (await send(path, body)).json();
}

async function removed(path) {
  return (await ask(path, { method: "DELETE" })).json();
}

export const workspace = () => read(ROOT);
export const makeTask = (values) => sent(`${ROOT}/tasks`, values);
export const removeTask = (task) => removed(pathOf(task));

export const offer = (task, order) => sent(`${pathOf(task)}/offers`, { order });
export const correct = (task, note, answer) => sent(`${pathOf(task)}/corrections`, { note, answer });
export const skip = (task, note) => sent(`${pathOf(task)}/skips`, { note });
export const undo = (task) => sent(`${pathOf(task)}/undo`);

export const notesOfTask = async (task) => (await read(`${pathOf(task)}/notes`)).notes;
export const correctionsOf = async (task) => (await read(`${pathOf(task)}/corrections`)).corrections;
export const removeNote = (task, note) => removed(`${pathOf(task)}/notes/${note}`);
export const removeOpenNotes = (task) => removed(`${pathOf(task)}/notes`);

export const scores = (task) => read(`${pathOf(task)}/scores`);
export const adapt = (task) => sent(`${pathOf(task)}/runs`);
export const runOf = (task, run) => read(`${pathOf(task)}/runs/${run}`);
export const stopRun = (task, run) => sent(`${pathOf(task)}/runs/${run}/stop`);
export const comparison = (task, run) => read(`${pathOf(task)}/runs/${run}/comparison`);
export const usePrompt = (task, version) => sent(`${pathOf(task)}/prompt`, { version });
export const undoUse = (task) => sent(`${pathOf(task)}/prompt/undo`);

/** Add notes, in several requests if they are many; return how many are new, and how many not. */
export async function addNotes(task, notes) {
  const counts = { added: 0, known: 0 };
  for (const part of parts(notes)) {
    const { added, known } = await sent(`${pathOf(task)}/notes`, { notes: part });
    counts.added += added;
    counts.known += known;
  }
  return counts;
}

function parts(notes) {
  const found = [];
  let bytes = Infinity;
  for (const note of notes) {
    const size = new TextEncoder().encode(JSON.stringify(note)).length + 1;
    if (bytes + size > MOST_BYTES || found.at(-1).length === MOST_NOTES) {
      found.push([]);
      bytes = 0;
    }
    found.at(-1).push(note);
    bytes += size;
  }
  return found;
}

/** Return a file of a task (a path below it) with its name. */
export async function fileOf(task, path) {
  return named(await ask(`${pathOf(task)}/${path}`));
}

/** Return answers that the page holds as a file with its name. */
export async function exported(task, form, answers) {
  return named(await send("../v1/export/batch", { task, form, answers }));
}

async function named(response) {
  const found = /filename\*=UTF-8''([^;]+)/.exec(response.headers.get("Content-Disposition") ?? "");
  return { name: found ? decodeURIComponent(found[1]) : "clinprompt", content: await response.blob() };
}
