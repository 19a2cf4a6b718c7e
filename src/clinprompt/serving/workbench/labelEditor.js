// Correct the label of a note.

import { element } from "./elements.js";
import { labelButtons } from "./keys.js";
import { fieldBlocks } from "./noteFields.js";
import { shown } from "./sureness.js";

/** Return an editor for the label of a note, in which `answer` is chosen first; `say` is told what happens. */
export function labelEditor(task, note, answer, say, suggestion) {
  const names = task.labels.map((label) => label.name);
  let chosen = names.includes(answer.label) ? answer.label : null;
  const history = [];
  const text = element(
    "div",
    { class: "note editable", tabindex: 0, role: "application", "aria-label": "Note to label", "aria-describedby": "keys" },
    ...fieldBlocks(task, note),
  );
  const tools = labelButtons(task, null, (name) => choose(name));
  const said = element("p", { class: "hint" }, saidOf(suggestion, names));

  function show() {
    for (const one of tools.querySelectorAll("button")) one.setAttribute("aria-pressed", String(one.dataset.label === chosen));
  }

  function choose(name) {
    history.push(chosen);
    chosen = name;
    show();
    say(`Label: ${name}`);
    text.focus();
  }

  show();
  return {
    element: element("div", { class: "span-editor" }, text, said),
    tools: [tools],
    keys: "Press the digit of the right label.",
    nothing: null,
    answer: () => (chosen === null ? null : { label: chosen }),
    missing: "Choose a label first, or skip the note.",
    undo() {
      if (!history.length) return false;
      chosen = history.pop();
      show();
      say(chosen ? `Label: ${chosen}` : "No label");
      return true;
    },
    focus: () => text.focus(),
    focusable: text,
    keydown(event) {
      const name = names[Number(event.key) - 1];
      if (name) choose(name);
      return Boolean(name);
    },
  };
}

function saidOf({ label, probability }, names) {
  if (!names.includes(label)) return "The model has no valid label for this note.";
  return `The model says ${label}${probability === undefined ? "" : ` with probability ${shown(probability)}`}.`;
}
