// How far an adaptation is: ask the server until it ends, show it as a bar, and say it in words.

import { attempt } from "./attempts.js";
import { many } from "./counts.js";
import { element } from "./elements.js";
import { howLong } from "./times.js";
import { runOf, workspace } from "./workspace.js";

const POLL_MILLISECONDS = 1000;
const PHASES = { starting: "Reading the corrections …", training: "Training", finishing: "Saving the prompt …" };

/**
 * Keep `task.run` as the server has it until the run ends or `signal` is aborted; `onStep` is
 * called while it is running, and `error` is the line for what the server refuses.
 */
export async function follow(task, error, signal, onStep) {
  while (task.run.state === "running" && !signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
    if (signal.aborted) return;
    const run = await attempt(error, () => runOf(task.name, task.run.run));
    if (run && task.run.state === "running") task.run = run;
    if (run?.state === "running") onStep();
  }
}

/** Call `onStep` with the name of another task that is being adapted, until it is null. */
export async function whileOtherRuns(task, error, signal, onStep) {
  for (let other = ""; other !== null && !signal.aborted; ) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
    if (signal.aborted) return;
    const found = await attempt(error, workspace);
    if (!found || signal.aborted) continue;
    other = found.adapting && found.adapting.task !== task.name ? found.adapting.task : null;
    onStep(other);
  }
}

/** Return a bar for the steps of a run, and what shows a run in it. */
export function runBar(name) {
  const bar = element("progress", { "aria-label": name });
  const show = ({ step, of, phase }) => {
    if (phase === "training") bar.value = step;
    else bar.removeAttribute("value");
    bar.max = of;
  };
  return { element: bar, show };
}

/** Say what a run does or has done. */
export function runWords(run) {
  switch (run.state) {
    case "running":
      if (run.phase !== "training") return PHASES[run.phase];
      return `${PHASES.training}: step ${run.step} of ${run.of}${run.seconds_left === null ? "" : `, about ${howLong(run.seconds_left)} left`}`;
    case "stopped":
      return `Stopped at step ${run.step} of ${run.of}.`;
    case "failed":
      return `The adaptation failed: ${run.message}`;
    default:
      return `Adapted to ${many(run.corrections, "correction")} in ${howLong(run.seconds)}.${run.left_out > 0 ? ` Not used, because the answer is too long: ${run.left_out} of ${run.rows + run.left_out} rows.` : ""}`;
  }
}
