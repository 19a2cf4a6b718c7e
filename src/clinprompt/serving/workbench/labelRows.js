// The labels of a new task: rows of a name and the word that the model reads and writes.

import { button, element } from "./elements.js";
import { fieldError } from "./fieldErrors.js";

/** Return the rows; empty ones are left out of their values. */
export function labelRows() {
  const rows = element("div", { class: "label-rows" });
  let least = 1;
  let made = 0;
  const input = (name, number) =>
    element("input", { type: "text", "data-part": name, maxlength: 100, autocomplete: "off", spellcheck: "false", "aria-label": `${name === "name" ? "Label" : "Word for label"} ${number}` });

  const rowList = () => [...rows.children].map((row) => [...row.querySelectorAll("input")]);
  const filled = () => rowList().filter((row) => row.some((one) => one.value.trim()));

  function addRow(takesFocus) {
    const number = rows.children.length + 1;
    made += 1;
    const both = [input("name", number), input("word", number)];
    const heads = ["Name", "Word"].map((words) => element("span", { class: "narrow-head", "aria-hidden": "true" }, words));
    const error = fieldError(`label-error-${made}`, ...both);
    const row = element("div", { class: "label-row" }, heads[0], both[0], heads[1], both[1], button("Remove", () => remove(row), { "aria-label": `Remove label ${number}` }), error);
    rows.append(row);
    if (takesFocus) row.querySelector("input").focus();
  }

  function remove(row) {
    row.remove();
    atLeast(least);
    for (const [at, [name, word]] of rowList().entries()) {
      name.setAttribute("aria-label", `Label ${at + 1}`);
      word.setAttribute("aria-label", `Word for label ${at + 1}`);
      name.parentElement.querySelector("button").setAttribute("aria-label", `Remove label ${at + 1}`);
    }
    rows.querySelector("input").focus();
  }

  function atLeast(number) {
    least = number;
    while (rows.children.length < Math.max(1, number)) addRow(false);
  }

  atLeast(1);
  return {
    element: element(
      "fieldset",
      { class: "labels-box" },
      element("legend", {}, "Labels"),
      element("p", { class: "hint" }, "For each, its name and the word that the model sees, such as DRUG and “medication”. Left out, the word is made from the name. The digits 1 to 9 stand for them in this order."),
      element("div", { class: "label-row heads", "aria-hidden": "true" }, element("span", {}, "Name"), element("span", {}, "Word")),
      rows,
      button("Add a label", () => addRow(true)),
    ),
    atLeast,
    /** Return the inputs of names that have to be filled in: as many as labels are missing. */
    missing: () => rowList().filter((row) => row.every((one) => !one.value.trim())).map(([name]) => name).slice(0, Math.max(0, least - filled().length)),
    values: () => filled().map(([name, word]) => ({ name: name.value.trim(), word: word.value.trim() })),
    /** Return the input that a place such as "labels.1.word" names. */
    inputOf(place) {
      const [, at, part] = /^labels(?:\.(\d+)\.(\w+))?$/.exec(place ?? "") ?? [null, null, null];
      if (at === null) return null;
      const row = filled()[Number(at ?? 0)] ?? rowList()[0];
      return row[part === "word" ? 1 : 0];
    },
  };
}
