// Buttons that show the keys that do the same.

import { button, element } from "./elements.js";

/** Return a button with its key. `shown` is how the key looks. */
export function keyed(words, key, onclick, shown = key, attributes = {}) {
  return button([words, " ", element("kbd", {}, shown)], onclick, { "aria-keyshortcuts": key, ...attributes });
}

/** Return a button for each label of a task: its digit, its name, and the word of the model. */
export function labelButtons(task, hues, choose) {
  const buttons = task.labels.map(({ name, word }, at) => {
    const words = [
      hues ? element("span", { class: `swatch hue-${hues.of(task.name, name)}`, "aria-hidden": "true" }) : null,
      name,
      word === name ? null : element("small", {}, ` ${word}`),
    ];
    const attributes = { "data-label": name };
    return at < 9
      ? button([...words, " ", element("kbd", {}, String(at + 1))], () => choose(name), { ...attributes, "aria-keyshortcuts": String(at + 1) })
      : button(words, () => choose(name), attributes);
  });
  return element("div", { class: "buttons labels", role: "group", "aria-label": "Labels" }, ...buttons);
}
