// The texts of a note that a task reads, each under its name if there are several.

import { element } from "./elements.js";

/** Return the text of a field of a note that the server gave. */
export function fieldOf(note, name) {
  return name === "text" ? note.text : (note.fields[name] ?? "");
}

/** Return a note in few words, for lists. */
export function inShort(task, note, most = 90) {
  const text = task.fields.map((name) => fieldOf(note, name)).join(" · ").replace(/\s+/g, " ");
  const characters = [...text];
  return characters.length > most ? `${characters.slice(0, most).join("")}…` : text;
}

/** Return the texts of a note as elements. */
export function fieldBlocks(task, note) {
  if (task.fields.length === 1) return [fieldOf(note, task.fields[0])];
  return task.fields.map((name) => element("p", {}, element("strong", { class: "field-name" }, name), fieldOf(note, name)));
}
