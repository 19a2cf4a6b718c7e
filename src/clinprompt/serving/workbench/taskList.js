// The tasks of the workspace.

import { correctionsWords, many } from "./counts.js";
import { element, errorLine } from "./elements.js";
import { follow, runBar, runWords } from "./runs.js";
import { teachAddress } from "./views.js";

/**
 * Return the list of tasks, each with how far it is, and the way to a new one. Asking how far an
 * adaptation is ends when `signal` is aborted.
 */
export function taskList({ tasks, kinds, enough }, signal) {
  const titles = new Map(kinds.map((kind) => [kind.kind, kind.title]));
  return element(
    "div",
    { class: "narrow-column" },
    element("h2", {}, "Tasks"),
    tasks.length
      ? element("ul", { class: "cards" }, ...tasks.map((task) => element("li", {}, cardOf(task, titles, enough, signal))))
      : element("p", {}, "A task says what the model is to find in notes. Make one, give it notes, correct the answers to some of them, and adapt the model to your corrections."),
    element("p", {}, element("a", { class: "button primary-link", href: teachAddress("") }, "New task")),
  );
}

function cardOf(task, titles, enough, signal) {
  const { waiting, corrected } = task.notes;
  return element(
    "div",
    { class: "card" },
    element("h3", {}, element("a", { href: teachAddress(task.name) }, task.name)),
    element("p", { class: "hint" }, [titles.get(task.kind) ?? task.kind, task.title === task.name ? "" : task.title].filter(Boolean).join(" · ")),
    element("p", {}, `${correctionsWords(corrected, enough)} · ${waiting === 1 ? "1 note waits" : `${waiting} notes wait`} · ${servedWords(task.served)}`),
    ...(task.run ? runParts(task, signal) : []),
  );
}

/** Return how far the last adaptation of a task is, and what came of it. */
function runParts(task, signal) {
  const error = errorLine();
  const bar = runBar(`Adaptation of ${task.name}`);
  const steps = element("span", {});
  const outcome = element("p", { role: "status" });
  const running = element("div", { class: "progress-line" }, steps, bar.element);

  function show() {
    const isRunning = task.run.state === "running";
    running.hidden = !isRunning;
    steps.textContent = isRunning ? `Adapt · ${runWords(task.run)}` : "";
    bar.show(task.run);
    outcome.textContent = isRunning ? "" : outcomeWords(task);
  }

  show();
  follow(task, error, signal, show).then(() => signal.aborted || show());
  return [running, outcome, error];
}

function outcomeWords({ run, served }) {
  if (run.state !== "done") return `Adapt · ${runWords(run)}`;
  return served?.version === run.run ? "" : "A new prompt waits. Open the task to compare it with the old one.";
}

/** Say which prompt answers, in few words. */
export function servedWords(served) {
  if (!served) return "not served";
  if (served.version === 0) return "served untrained";
  return `served, trained on ${many(served.corrections, "correction")}`;
}
