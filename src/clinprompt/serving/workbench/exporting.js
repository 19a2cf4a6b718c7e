// Take answers of this tab out in forms that the server writes.

import { attempt } from "./attempts.js";
import { saveFile } from "./downloads.js";
import { byId, element } from "./elements.js";
import { servedTask } from "./tasks.js";
import { exported } from "./workspace.js";

/** Show the tasks that have answers. */
export function showExport(notes) {
  const names = [...new Set(notes.flatMap((note) => note.answers.map((answer) => answer.task)))];
  const select = byId("export-task");
  const before = select.value;
  select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  if (names.includes(before)) select.value = before;
  byId("export").hidden = !names.length;
  showForms();
}

function showForms() {
  byId("export-brat").disabled = !["spans", "relations"].includes(servedTask(byId("export-task").value)?.answer);
}

/** Connect the controls; `notesNow` returns the notes of this tab. */
export function listenToExport(notesNow) {
  byId("export-task").addEventListener("change", showForms);
  for (const [id, form] of [["export-brat", "brat"], ["export-label-studio", "label_studio"]]) {
    byId(id).addEventListener("click", () => take(form, notesNow()));
  }
}

async function take(form, notes) {
  const task = byId("export-task").value;
  const answers = notes.flatMap((note) => note.answers.filter((answer) => answer.task === task).map((answer) => answered(note, answer)));
  const file = await attempt(byId("export-error"), () => exported(task, form, answers));
  if (file) saveFile(file.name, file.content);
}

function answered({ id, fields: { text, ...fields }, options }, answer) {
  return { id, text, fields, options, answer };
}
