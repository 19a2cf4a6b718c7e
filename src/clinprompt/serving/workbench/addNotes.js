// Add notes to a task: paste one, or open files, as on the part that reads.

import { attempt } from "./attempts.js";
import { many } from "./counts.js";
import { button, element, errorLine } from "./elements.js";
import { notesOf } from "./notes.js";
import { addNotes } from "./workspace.js";

/**
 * Return the panel. `onBegin` is called before notes are added, `onAdded` with the counts of the
 * task's notes, what to say beside the note that is being corrected, and whether to go there.
 */
export function addNotesPanel(task, { onBegin, onAdded }) {
  const error = errorLine();
  const happened = element("p", { role: "status", class: "happened" });
  const areas = task.fields.map((name) => [name, element("textarea", { id: `add-${name}`, rows: name === "text" || name === "context" ? 5 : 2, spellcheck: "false" })]);
  const files = element("input", { id: "add-files", class: "visually-hidden", type: "file", multiple: true, accept: ".txt,.jsonl", onchange: open });

  function begin() {
    happened.textContent = error.textContent = "";
    onBegin();
  }

  async function add(notes, arePasted) {
    const counts = await attempt(error, () => addNotes(task.name, notes));
    if (!counts) return showError();
    const { added, known } = counts;
    const words = `${many(added, "note")} added${known ? `, ${known} ${known === 1 ? "was" : "were"} there already` : ""}.`;
    panel.open = arePasted || added === 0;
    if (arePasted) happened.textContent = words;
    onAdded({ ...task.notes, waiting: task.notes.waiting + added }, arePasted ? "" : words, !arePasted);
    return true;
  }

  function showError() {
    panel.open = true;
    error.scrollIntoView({ block: "nearest" });
    return false;
  }

  async function addPasted() {
    begin();
    const fields = Object.fromEntries(areas.map(([name, area]) => [name, area.value]));
    if (!(await add([noteOf({ id: "", fields })], true))) return;
    for (const [, area] of areas) area.value = "";
    areas[0][1].focus();
  }

  async function open() {
    await openFiles([...files.files]);
    files.value = "";
  }

  async function openFiles(chosen) {
    begin();
    const notes = [];
    for (const file of chosen) {
      try {
        notes.push(...(await notesOf(file)).map(noteOf));
      } catch (problem) {
        error.textContent = problem.message;
        showError();
        return;
      }
    }
    if (notes.length) await add(notes, false);
  }

  const field = ([name, area]) =>
    element("div", { class: "field" }, element("label", { for: area.id }, name === "text" ? "Text of one note" : name), area);
  const panel = element(
    "details",
    { class: "card" },
    element("summary", {}, "Add notes"),
    element(
      "div",
      { class: "stack" },
      ...areas.map(field),
      element("div", { class: "buttons" }, button("Add this note", addPasted), element("label", { class: "button", for: files.id }, "Open files", files)),
      element("p", { class: "hint" }, `Many notes: a .txt file for each, or a .jsonl file with a line such as ${example(task)} for each. Or drop files anywhere.`),
      happened,
      error,
    ),
  );
  return { element: panel, openFiles };
}

/** Return a note as the server takes it; `fields` of files may have more than the task reads. */
function noteOf({ id, fields: { text = "", ...fields }, options = [] }) {
  return { id, text, fields, options };
}

function example(task) {
  return JSON.stringify(Object.fromEntries([["id", "7"], ...task.fields.map((name) => [name, "..."])]));
}
