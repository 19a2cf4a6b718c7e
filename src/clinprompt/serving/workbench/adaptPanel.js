// Adapt a task to its corrections: how many there are, how far the adaptation is, and what came of it.

import { attempt } from "./attempts.js";
import { button, element, errorLine, titled } from "./elements.js";
import { howLong } from "./times.js";
import { adapt, runOf, stopRun } from "./workspace.js";

const POLL_MILLISECONDS = 1000;
const PHASES = { starting: "Reading the corrections …", training: "Training", finishing: "Saving the prompt …" };

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
  const runBar = element("progress", { "aria-label": "Adaptation" });
  const runWords = element("p", { role: "status" });
  const busyElsewhere = adapting && adapting.task !== task.name ? adapting.task : null;
  let isAsking = false;

  function show() {
    const { corrected } = task.notes;
    bar.value = Math.min(corrected, enough);
    count.textContent = `${corrected} of ${enough} corrections`;
    const isRunning = task.run?.state === "running";
    const why = reasonAgainst(corrected);
    start.disabled = isRunning || why !== "";
    start.classList.toggle("primary", !isDoneWith(corrected));
    start.textContent = task.run?.state === "stopped" ? "Continue to adapt" : "Adapt";
    reason.textContent = why || adviceOn(corrected);
    reason.hidden = isRunning;
    stop.hidden = runBar.hidden = !isRunning;
    runWords.textContent = task.run ? runState(task.run) : "";
    if (task.run) showBar(task.run);
    if (isRunning) follow();
  }

  function reasonAgainst(corrected) {
    if (busyElsewhere) return `Not now: ${busyElsewhere} is being adapted. Wait for it, or stop it, and load this page again.`;
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
    return "The new prompt is not used before you say so.";
  }

  function isDoneWith(corrected) {
    return task.run?.state === "done" && task.run.corrections === corrected;
  }

  function showBar({ step, of, phase }) {
    if (phase === "training") runBar.value = step;
    else runBar.removeAttribute("value");
    runBar.max = of;
  }

  async function begin() {
    start.disabled = true;
    const run = await attempt(error, () => adapt(task.name));
    onChange(run ? { run } : {});
    if (run) stop.focus();
  }

  async function end() {
    const run = await attempt(error, () => stopRun(task.name, task.run.run));
    if (run) onChange({ run });
    if (run) start.focus();
  }

  /** Ask every second how far the adaptation is, until it ends. */
  async function follow() {
    if (isAsking) return;
    isAsking = true;
    while (task.run.state === "running" && !signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
      if (signal.aborted) return;
      const run = await attempt(error, () => runOf(task.name, task.run.run));
      if (run && task.run.state === "running") task.run = run;
      if (run?.state === "running") show();
    }
    isAsking = false;
    if (signal.aborted) return;
    onChange({});
    if (task.run.state === "done") onDone();
  }

  const panel = titled(
    "Adapt",
    { class: "card stack" },
    element("div", { class: "progress-line" }, bar, count),
    element("div", { class: "buttons" }, start, stop),
    reason,
    runBar,
    runWords,
    error,
  );
  return { element: panel, show };
}

function runState(run) {
  switch (run.state) {
    case "running":
      if (run.phase !== "training") return PHASES[run.phase];
      return `${PHASES.training}: step ${run.step} of ${run.of}${run.seconds_left === null ? "" : `, about ${howLong(run.seconds_left)} left`}`;
    case "stopped":
      return `Stopped at step ${run.step} of ${run.of}.`;
    case "failed":
      return `The adaptation failed: ${run.message}`;
    default:
      return `Adapted to ${run.corrections} corrections in ${howLong(run.seconds)}.${run.left_out > 0 ? ` Not used, because the answer is too long: ${run.left_out} of ${run.rows + run.left_out} rows.` : ""}`;
  }
}
