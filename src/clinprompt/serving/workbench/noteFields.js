// The texts of a note that a task reads, each under its name if there are several.

import { element } from "./elements.js";

const IN_WORDS = {
  text: "its text",
  statement: "a statement about it, such as “The patient smokes”",
  question: "a question",
  context: "the text that has the answer",
};

/** Return what a person gives for the fields of a note, in words. */
export function fieldsInWords(names) {
  return names.map((name) => IN_WORDS[name] ?? name).join(" and ");
}

/** Return the text of a field of a note that the server gave. */
export function fieldOf(note, name) {
  return name === "text" ? note.text : (note.fields[name] ?? "");
}

/** Return a note in few words, for lists. */
export function inShort(task, note, most = 90) {
  const text = task.fields.map((name) => fieldOf(note, name)).join(" · ");
  return shorten(text, most);
}

/** Return at most so many characters of a text, in one line. */
export function shorten(text, most) {
  const characters = [...text.replace(/\s+/g, " ")];
  return characters.length > most ? `${characters.slice(0, most).join("")}…` : characters.join("");
}

/** Return the texts of a note as elements. */
export function fieldBlocks(task, note) {
  if (task.fields.length === 1) return [fieldOf(note, task.fields[0])];
  return task.fields.map((name) => element("p", {}, element("strong", { class: "field-name" }, name), fieldOf(note, name)));
}
