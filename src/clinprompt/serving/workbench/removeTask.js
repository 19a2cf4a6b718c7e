// Remove a task for good.

import { attempt } from "./attempts.js";
import { button, element, errorLine } from "./elements.js";
import { teachAddress } from "./views.js";
import { removeTask } from "./workspace.js";

/** Return the panel, which has to be opened first. */
export function removePanel(task) {
  const error = errorLine();
  const remove = async () => {
    if (await attempt(error, () => removeTask(task.name))) location.hash = teachAddress();
  };
  return element(
    "details",
    { class: "card" },
    element("summary", {}, "Remove the task"),
    element(
      "div",
      { class: "stack" },
      element("p", {}, "Its notes, corrections and prompts are deleted from the server, and it is no longer answered. This cannot be undone. Export first what you want to keep."),
      button(`Remove ${task.name} for good`, remove, { class: "danger at-start" }),
      error,
    ),
  );
}
