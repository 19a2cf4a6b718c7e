// The labels of a new task: rows of a name and the word that the model reads and writes.

import { button, element } from "./elements.js";

/** Return the rows; empty ones are left out of their values. */
export function labelRows() {
  const rows = element("div", { class: "label-rows" });
  let least = 1;
  const input = (name, number) =>
    element("input", { type: "text", "data-part": name, maxlength: 100, autocomplete: "off", spellcheck: "false", "aria-label": `${name === "name" ? "Label" : "Word for label"} ${number}` });

  const inputs = () => [...rows.querySelectorAll("input")];
  const rowList = () => [...rows.children].map((row) => [...row.querySelectorAll("input")]);
  const filled = () => rowList().filter((row) => row.some((one) => one.value.trim()));

  function addRow(takesFocus) {
    const number = rows.children.length + 1;
    const row = element("div", { class: "label-row" }, input("name", number), input("word", number), button("Remove", () => remove(row), { "aria-label": `Remove label ${number}` }));
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
    inputs,
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
