// One task of the workspace: correct its notes, adapt it, see how good it is, take it out.

import { adaptPanel } from "./adaptPanel.js";
import { addNotesPanel } from "./addNotes.js";
import { comparisonPanel } from "./comparison.js";
import { correctingPanel } from "./correcting.js";
import { many } from "./counts.js";
import { element } from "./elements.js";
import { notesPanel } from "./noteTable.js";
import { removePanel } from "./removeTask.js";
import { scoresPanel } from "./scoresPanel.js";
import { takeOutPanel } from "./takeOut.js";
import { servedWords } from "./taskList.js";
import { teachAddress } from "./views.js";

/** Return the page of a task; what works in the background ends when `signal` is aborted. */
export function taskPage(task, found, signal) {
  const served = element("p", { class: "hint" });
  const kind = found.kinds.find((one) => one.kind === task.kind);

  /** Take over what the server says about the task. */
  function update(values) {
    Object.assign(task, values);
    served.textContent = `${kind?.title ?? task.kind} · ${notesWords(task.notes)} · ${servedWords(task.served)}`;
    adapting.show();
    takeOut.show();
    notes.show();
    scores.show();
    correcting.showCounts();
  }

  const correcting = correctingPanel(task, {
    onChange: (made) => update({ notes: made.notes, can_undo_correction: made.can_undo_correction }),
    onOrder: () => scores.show(),
  });
  const adding = addNotesPanel(task, {
    onBegin: () => correcting.say(""),
    onAdded: (counts, words, takesFocus) => {
      update({ notes: counts });
      correcting.notesAdded(words, takesFocus);
    },
  });
  const comparison = comparisonPanel(task, signal, (values) => {
    update(values);
    if (values.notes.waiting) correcting.start("", true);
  });
  const adapting = adaptPanel(task, found, signal, { onDone: comparison.compare, onChange: update });
  const scores = scoresPanel(task, signal, correcting);
  const notes = notesPanel(task, {
    onRemoved: (counts, number) => {
      update({ notes: counts });
      correcting.noteRemoved(number);
    },
    correctAgain: (row) => correcting.again(row),
  });
  const takeOut = takeOutPanel(task);

  update({});
  adding.element.open = !task.notes.waiting;
  if (task.notes.waiting) correcting.start("", true);
  else correcting.showNone();
  comparison.show();
  document.addEventListener("drop", (event) => adding.openFiles([...event.dataTransfer.files]), { signal });
  return element(
    "div",
    { class: "task-page" },
    element(
      "div",
      { class: "task-head" },
      element("p", {}, element("a", { href: teachAddress() }, "← All tasks")),
      element("h2", {}, task.title === task.name ? task.name : `${task.name}: ${task.title}`),
      served,
      element("p", { class: "hint" }, `Instruction${found.reads_instructions ? "" : ", which the model does not read"}: ${task.instruction}`),
    ),
    element("div", { class: "main-column" }, correcting.element, comparison.element, adding.element),
    element("div", { class: "side-column" }, adapting.element, scores.element, notes.element, takeOut.element, removePanel(task)),
  );
}

function notesWords({ waiting, corrected, skipped }) {
  return `${many(corrected, "note")} corrected, ${waiting} to correct${skipped ? `, ${skipped} skipped` : ""}`;
}
