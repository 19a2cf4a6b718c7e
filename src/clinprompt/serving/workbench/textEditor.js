// Correct a text about a note, such as a summary.

import { element } from "./elements.js";
import { fieldBlocks } from "./noteFields.js";

/** Return an editor for the text that answers a note. */
export function textEditor(task, note, answer) {
  const area = element("textarea", { id: "right-text", rows: 4, "aria-describedby": "keys" });
  area.value = answer.text ?? "";
  return {
    element: element(
      "div",
      { class: "span-editor" },
      element("div", { class: "note" }, ...fieldBlocks(task, note)),
      element("div", { class: "field" }, element("label", { for: "right-text" }, "Right text"), area),
    ),
    tools: [],
    keys: "Ctrl+Enter accepts the text and shows the next note.",
    isText: true,
    nothing: null,
    answer: () => (area.value.trim() ? { text: area.value } : null),
    missing: "Write a text first, or skip the note.",
    undo: () => false,
    focus: () => area.focus(),
    focusable: area,
    keydown: () => false,
  };
}
