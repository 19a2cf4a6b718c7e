// The tasks of the workspace.

import { element } from "./elements.js";
import { teachAddress } from "./views.js";

/** Return the list of tasks, each with how far it is, and the way to a new one. */
export function taskList({ tasks, kinds, enough }) {
  const titles = new Map(kinds.map((kind) => [kind.kind, kind.title]));
  return element(
    "div",
    { class: "narrow-column" },
    element("h2", {}, "Tasks"),
    tasks.length
      ? element("ul", { class: "cards" }, ...tasks.map((task) => element("li", {}, cardOf(task, titles, enough))))
      : element("p", {}, "A task says what the model is to find in notes. Make one, give it notes, correct the answers to some of them, and adapt the model to your corrections."),
    element("p", {}, element("a", { class: "button primary-link", href: teachAddress("") }, "New task")),
  );
}

function cardOf(task, titles, enough) {
  const { waiting, corrected } = task.notes;
  return element(
    "div",
    { class: "card" },
    element("h3", {}, element("a", { href: teachAddress(task.name) }, task.name)),
    element("p", { class: "hint" }, [titles.get(task.kind) ?? task.kind, task.title === task.name ? "" : task.title].filter(Boolean).join(" · ")),
    element("p", {}, `${Math.min(corrected, enough)} of ${enough} corrections · ${waiting} notes wait · ${servedWords(task.served)}`),
  );
}

/** Say which prompt answers, in few words. */
export function servedWords(served) {
  if (!served) return "not served";
  return served.version === 0 ? "served untrained" : `served, trained on ${served.corrections} corrections`;
}
