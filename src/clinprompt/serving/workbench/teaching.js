// The part that teaches: shows the tasks of the workspace, a new one, or one of them.

import { attempt, whenTokenIsRefused } from "./attempts.js";
import { byId, element, errorLine } from "./elements.js";
import { newTaskForm } from "./newTask.js";
import { taskList } from "./taskList.js";
import { taskPage } from "./taskPage.js";
import { nameTab, teachAddress } from "./views.js";
import { workspace } from "./workspace.js";

let leaving = new AbortController(); // aborted when another place is shown

/** Show the place within this part that the address names. */
export async function showTeaching(rest, askForToken) {
  leaveTeaching();
  const { signal } = leaving;
  whenTokenIsRefused(askForToken);
  const error = errorLine();
  byId("teach").replaceChildren(error);
  const found = await attempt(error, workspaceOrNull);
  if (signal.aborted || found === undefined) return;
  byId("teach").replaceChildren(found ? placeOf(found, rest, signal) : howToStart());
  nameTab(byId("teach").querySelector("h2").textContent);
  if (document.activeElement === document.body) focusTitle();
}

/** End what works in the background for the place that was shown. */
export function leaveTeaching() {
  leaving.abort();
  leaving = new AbortController();
}

/** Go to the title of a place, so that screen readers begin there. */
function focusTitle() {
  const title = byId("teach").querySelector("h2");
  title.tabIndex = -1;
  title.focus();
}

async function workspaceOrNull() {
  try {
    return await workspace();
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

function placeOf(found, [name], signal) {
  if (name === undefined) return taskList(found, signal);
  if (name === "") return newTaskForm(found, (task) => (location.hash = teachAddress(task)));
  const task = found.tasks.find((one) => one.name === name);
  if (task) return taskPage(task, found, signal);
  return element(
    "div",
    { class: "panel" },
    element("h2", {}, "There is no such task"),
    element("p", {}, "The workspace has no task of this name. ", element("a", { href: teachAddress() }, "All tasks")),
  );
}

function howToStart() {
  return element(
    "div",
    { class: "panel" },
    element("h2", {}, "This server only answers"),
    element("p", {}, "To correct notes and to teach tasks, it needs a folder in which these are kept. Ask its administrator to start it with"),
    element("p", {}, element("code", {}, "clinprompt serve --workspace FOLDER")),
  );
}
