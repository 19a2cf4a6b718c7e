// The part that reads: keeps the notes of this tab and connects its controls with what they do.

import { asCsv, asJsonLines, save, wasRun } from "./downloads.js";
import { byId } from "./elements.js";
import { listenToExport, showExport } from "./exporting.js";
import { showNotes } from "./noteList.js";
import { clearAnswers, isBlank, makeNote, notesOf } from "./notes.js";
import { showResults, watchWidth } from "./results.js";
import { runAll, runNote } from "./running.js";
import { showFields, showTasks } from "./tasks.js";

let notes = [makeNote("Note 1")];
let current = notes[0];
let stopping = null; // an AbortController while notes are run
let onTokenRefused = () => {};

const threshold = () => Number(byId("threshold").value);

function say(words) {
  byId("status").textContent = words;
}

function show() {
  const order = byId("order").value;
  showNotes(notes, current, { order, threshold: threshold(), choose });
  showResults(current, threshold());
  const isRunning = stopping !== null;
  byId("run").disabled = isRunning;
  byId("run-all").disabled = isRunning;
  byId("stop").hidden = !isRunning;
  const hasAnswers = notes.some(wasRun);
  byId("save-jsonl").disabled = !hasAnswers;
  byId("save-csv").disabled = !hasAnswers;
  showExport(notes);
}

function choose(note) {
  current = note;
  byId("text").value = note.fields.text;
  byId("note-title").textContent = note.name;
  showFields(note, changed);
  show();
}

function changed() {
  if (current.state !== "not run" || current.error) {
    clearAnswers(current);
    show();
  }
}

function add(found) {
  notes = [...notes.filter((note) => note !== current || !isBlank(note)), ...found];
  choose(found[0]);
}

async function openFiles(files) {
  const found = [];
  const errors = [];
  for (const file of files) {
    try {
      found.push(...(await notesOf(file)));
    } catch (error) {
      errors.push(error.message);
    }
  }
  if (found.length) add(found);
  byId("file-errors").textContent = errors.join(" ");
  say(found.length === 1 ? "1 note opened." : `${found.length} notes opened.`);
}

async function running(work, doneWords) {
  if (stopping) return;
  stopping = new AbortController();
  say("Running …");
  try {
    const done = work(stopping.signal);
    show();
    await done;
    say(stopping.signal.aborted ? "Stopped." : doneWords());
  } catch (error) {
    if (error.status !== 401) throw error;
    onTokenRefused(error.message);
  } finally {
    stopping = null;
    show();
  }
}

function runCurrent() {
  const note = current;
  return running(
    (signal) => runNote(note, signal),
    () => (note.error ? "The note was not answered." : note.state === "done" ? "Answered." : "The note was changed meanwhile: run it again."),
  );
}

function runList() {
  return running(
    (signal) => runAll(notes, signal, show),
    () => {
      const failed = notes.filter((note) => note.error).length;
      const done = notes.filter((note) => note.state === "done").length;
      return `${done} answered${failed ? `, ${failed} not answered: choose them in the list to see why` : ""}.`;
    },
  );
}

/** Show the tasks that are served now. */
export function showServed(tasks) {
  showTasks(tasks, () => showFields(current, changed));
  choose(current);
}

/** Connect the controls; `askForToken` is called with words if the server refuses the token. */
export function listenToReading(askForToken) {
  onTokenRefused = askForToken;
  listen();
  watchWidth();
}

function listen() {
  const on = (id, event, does) => byId(id).addEventListener(event, does);
  on("text", "input", () => {
    current.fields.text = byId("text").value;
    changed();
  });
  on("new-note", "click", () => {
    add([makeNote(`Note ${notes.length + 1}`)]);
    byId("text").focus();
  });
  on("files", "change", async () => {
    await openFiles([...byId("files").files]);
    byId("files").value = "";
  });
  on("run", "click", runCurrent);
  on("run-all", "click", runList);
  on("stop", "click", () => stopping?.abort());
  on("order", "change", show);
  on("threshold", "input", () => {
    byId("threshold-value").textContent = threshold().toFixed(2);
    show();
  });
  on("save-jsonl", "click", () => save("answers.jsonl", "application/jsonl", asJsonLines(notes)));
  on("save-csv", "click", () => save("answers.csv", "text/csv", asCsv(notes)));
  listenToExport(() => notes);
  listenToPage();
}

function listenToPage() {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || byId("work").hidden) return;
    event.preventDefault();
    runCurrent();
  });
  document.addEventListener("dragover", (event) => {
    if (event.dataTransfer.types.includes("Files")) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    if (!byId("work").hidden) openFiles([...event.dataTransfer.files]);
  });
}
