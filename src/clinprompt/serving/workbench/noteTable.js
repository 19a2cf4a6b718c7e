// The notes of a task in the workspace: what became of each, and how to delete or correct it again.

import { inBrief } from "./answerWords.js";
import { attempt } from "./attempts.js";
import { button, element, errorLine } from "./elements.js";
import { inShort, shorten } from "./noteFields.js";
import { twice } from "./twice.js";
import { correctionsOf, notesOfTask, removeNote, removeOpenNotes } from "./workspace.js";

/** Return the panel, which asks for the notes when it is opened. */
export function notesPanel(task, { onRemoved, correctAgain }) {
  const summary = element("summary", {});
  const error = errorLine();
  const list = element("ul", { class: "note-rows" });
  let asked = 0;
  const panel = element("details", { class: "card", ontoggle: () => panel.open && load() }, summary, element("div", { class: "stack" }, list, error, openNotes()));

  function show() {
    const { waiting, corrected, skipped } = task.notes;
    summary.textContent = `Notes: ${corrected} corrected, ${waiting} waiting, ${skipped} skipped`;
    if (panel.open) load();
  }

  async function load() {
    asked += 1;
    const number = asked;
    const notes = await attempt(error, () => notesOfTask(task.name));
    if (notes && number === asked) list.replaceChildren(...notes.map(rowOf));
  }

  function rowOf(note) {
    const name = note.id || `note ${note.note}`;
    return element(
      "li",
      {},
      element("p", {}, element("strong", {}, name), " ", element("span", { class: "note-state" }, stateOf(note))),
      element("p", { class: "hint" }, inShort(task, note, 60)),
      element(
        "div",
        { class: "buttons" },
        note.state === "corrected" ? button("Correct again", () => again(note), { "aria-label": `Correct ${name} again` }) : null,
        twice("Delete", () => remove(() => removeNote(task.name, note.note), note.note), { "aria-label": `Delete ${name}` }),
      ),
    );
  }

  async function again(note) {
    const rows = await attempt(error, () => correctionsOf(task.name));
    const row = rows?.find((one) => one.note === note.note);
    if (row) correctAgain(row);
  }

  /** Remove notes; `number` is that of the note, or null if they are several. */
  async function remove(work, number = null) {
    const counts = await attempt(error, work);
    if (counts) onRemoved(counts, number);
  }

  function openNotes() {
    return twice("Delete all that are not corrected", () => remove(() => removeOpenNotes(task.name)), { class: "at-start" });
  }

  return { element: panel, show };
}

function stateOf({ state, answer }) {
  return answer ? `${state}: ${shorten(inBrief(answer), 60)}` : state;
}
