// Adapt a task to its corrections: how many there are, how far the adaptation is, and what came of it.

import { attempt } from "./attempts.js";
import { correctionsWords } from "./counts.js";
import { button, element, errorLine, titled } from "./elements.js";
import { follow, runBar, runWords, whileOtherRuns } from "./runs.js";
import { adapt, stopRun } from "./workspace.js";

/**
 * Return the panel. `onChange` is called with values of the task that have changed, `onDone` when an
 * adaptation has made a prompt. Asking how far it is ends when `signal` is aborted.
 */
export function adaptPanel(task, { adapting, enough }, signal, { onDone, onChange }) {
  const error = errorLine();
  const bar = element("progress", { max: enough, "aria-label": "Corrections" });
  const count = element("p", {});
  const start = button("Adapt", begin, { class: "primary", "aria-describedby": "adapt-reason" });
  const stop = button("Stop", end);
  const reason = element("p", { id: "adapt-reason", class: "hint" });
  const steps = runBar("Adaptation");
  const words = element("p", { role: "status" });
  let busyElsewhere = adapting && adapting.task !== task.name ? adapting.task : null;
  let isAsking = false;
  let isStopping = false; // until the server says that it has stopped, it begins no other adaptation

  function show() {
    const { corrected } = task.notes;
    bar.value = Math.min(corrected, enough);
    count.textContent = correctionsWords(corrected, enough);
    const isRunning = isStopping || task.run?.state === "running";
    const why = reasonAgainst(corrected);
    start.disabled = isRunning || why !== "";
    start.classList.toggle("primary", !isDoneWith(corrected));
    start.textContent = task.run?.state === "stopped" ? "Continue to adapt" : "Adapt";
    reason.textContent = why || adviceOn(corrected);
    reason.hidden = isRunning;
    stop.hidden = steps.element.hidden = !isRunning;
    stop.disabled = isStopping;
    words.textContent = isStopping ? "Stopping …" : task.run ? runWords(task.run) : "";
    if (task.run) steps.show(task.run);
    if (task.run?.state === "running") waitForEnd();
  }

  function reasonAgainst(corrected) {
    if (busyElsewhere) return `Not now: ${busyElsewhere} is being adapted. Wait for it, or stop it.`;
    return corrected ? "" : "Not yet: correct at least one note first.";
  }

  function adviceOn(corrected) {
    const { run, served } = task;
    if (isDoneWith(corrected)) {
      return run.run === served?.version
        ? "Correct more notes and adapt again to make the model better."
        : "The task is answered by the old prompt until you use the new one.";
    }
    if (corrected < enough) return `The model was made to learn from ${enough} corrections; fewer usually teach it less.`;
    return "The next prompt is not used before you say so.";
  }

  function isDoneWith(corrected) {
    return task.run?.state === "done" && task.run.corrections === corrected;
  }

  async function begin() {
    start.disabled = true;
    const run = await attempt(error, () => adapt(task.name));
    onChange(run ? { run } : {});
    if (run) stop.focus();
  }

  async function end() {
    isStopping = true;
    show();
    const run = await attempt(error, () => stopRun(task.name, task.run.run));
    isStopping = false;
    onChange(run ? { run } : {});
    if (run) start.focus();
  }

  async function waitForEnd() {
    if (isAsking) return;
    isAsking = true;
    await follow(task, error, signal, show);
    isAsking = false;
    if (signal.aborted) return;
    onChange({});
    if (task.run.state === "done") onDone();
  }

  if (busyElsewhere) {
    whileOtherRuns(task, error, signal, (other) => {
      busyElsewhere = other;
      show();
    });
  }
  const panel = titled(
    "Adapt",
    { class: "card stack" },
    element("div", { class: "progress-line" }, bar, count),
    element("div", { class: "buttons" }, start, stop),
    reason,
    steps.element,
    words,
    error,
  );
  return { element: panel, show };
}
