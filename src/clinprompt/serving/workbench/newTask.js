// The form of a new task: kind, name, labels with the words that the model sees, and instruction.

import { attempt } from "./attempts.js";
import { Refused } from "./api.js";
import { button, element, errorLine } from "./elements.js";
import { fieldError, forgetErrors, markWrong } from "./fieldErrors.js";
import { labelRows } from "./labelRows.js";
import { fieldsInWords } from "./noteFields.js";
import { teachAddress } from "./views.js";
import { makeTask } from "./workspace.js";

/** Return the form; `onMade` is called with the name of the task that was made. */
export function newTaskForm({ kinds, reads_instructions }, onMade) {
  const error = errorLine();
  const kind = element("select", { id: "new-kind" }, ...kinds.map((one) => element("option", { value: one.kind }, one.title)));
  const name = element("input", { id: "new-name", type: "text", required: true, maxlength: 64, autocomplete: "off", spellcheck: "false" });
  const title = element("input", { id: "new-title", type: "text", maxlength: 200, autocomplete: "off" });
  const instruction = element("textarea", { id: "new-instruction", rows: 3, maxlength: 4000 });
  const labels = labelRows();
  const gives = element("p", { class: "hint" });
  const places = { name, kind, title, instruction };

  const showKind = () => {
    const chosen = kinds.find((one) => one.kind === kind.value);
    labels.element.hidden = !chosen.has_labels;
    labels.atLeast(chosen.least_labels);
    gives.textContent = chosen.fields.length > 1 ? `For each note you give ${fieldsInWords(chosen.fields)}.` : "";
  };
  kind.addEventListener("change", showKind);

  async function make() {
    const values = { name: name.value.trim(), kind: kind.value, title: title.value, instruction: instruction.value };
    const own = labels.element.hidden ? [] : labels.values();
    forgetErrors(form);
    const missing = name.value.trim() ? [] : [[name, "Write a name."]];
    if (!labels.element.hidden) missing.push(...labels.missing().map((input) => [input, "Write the name of a label."]));
    if (missing.length) {
      for (const [input, words] of missing) markWrong(input, words);
      missing[0][0].focus();
      return;
    }
    const made = await attempt(error, () => makeTask({ ...values, labels: own }).catch(showPlace));
    if (made) onMade(made.name);
  }

  /** Say at the input of the value that the server cannot use what is wrong with it, and go there. */
  function showPlace(refused) {
    const place = refused instanceof Refused ? (places[refused.param] ?? labels.inputOf(refused.param)) : null;
    if (!place) throw refused;
    const called = place.getAttribute("aria-label") ?? place.labels[0].textContent;
    markWrong(place, refused.detail.replace(`${refused.param}:`, `${called}:`));
    place.focus();
  }

  const form = element(
    "form",
    { class: "panel new-task", novalidate: true, onsubmit: (event) => { event.preventDefault(); make(); } },
    element("h2", {}, "New task"),
    field("What the model answers", kind, gives),
    field("Name", name, "Programs ask for the task by this name. Use letters (A to Z), digits, “.”, “_” and “-”, and no spaces."),
    labels.element,
    field("Instruction (may be left out)", instruction, reads_instructions
      ? "The model reads it before each note."
      : "The model does not read the instruction. It sees the words of the labels and learns from your corrections. The instruction is for the people who correct."),
    field("Title (may be left out)", title),
    error,
    element("div", { class: "buttons" }, button("Make the task", null, { type: "submit", class: "primary" }), element("a", { href: teachAddress() }, "Cancel")),
  );
  showKind();
  return form;
}

function field(words, input, hint) {
  const note = typeof hint === "string" ? element("p", { class: "hint" }, hint) : hint;
  if (note) {
    note.id = `${input.id}-hint`;
    input.setAttribute("aria-describedby", note.id);
  }
  return element("div", { class: "field" }, element("label", { for: input.id }, words), input, note ?? null, fieldError(`${input.id}-error`, input));
}
