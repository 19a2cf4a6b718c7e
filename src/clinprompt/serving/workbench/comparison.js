// Old and new prompt side by side on the corrections, and which of them is used.

import { inWords } from "./answerWords.js";
import { attempt } from "./attempts.js";
import { many } from "./counts.js";
import { button, element, errorLine, table, titled } from "./elements.js";
import { inShort } from "./noteFields.js";
import { metricName, scoreWords } from "./scoreWords.js";
import { comparison, undoUse, usePrompt } from "./workspace.js";

const POLL_MILLISECONDS = 1000;

/** Return the panel; `onUsed` is called with the task when another prompt is used. */
export function comparisonPanel(task, signal, onUsed) {
  const error = errorLine();
  const status = element("p", { role: "status" });
  const place = element("div", { class: "stack" });
  const compareButton = button("Compare old and new", compare);
  const use = button("Use the new prompt", () => change(() => usePrompt(task.name, task.run.run)), { class: "primary" });
  const undo = button("Undo", () => change(() => undoUse(task.name)));
  const panel = titled(
    "Old and new",
    { class: "card stack" },
    element("div", { class: "buttons" }, compareButton, use, undo),
    status,
    error,
    place,
  );
  panel.querySelector("h3").tabIndex = -1;

  function show() {
    const isDone = task.run?.state === "done";
    const isUsed = isDone && task.served?.version === task.run.run;
    panel.hidden = !isDone && !task.can_undo_use;
    compareButton.hidden = !isDone;
    use.hidden = !isDone || isUsed;
    undo.hidden = !task.can_undo_use;
    undo.textContent = `Undo: use ${promptWords(task.before)}`;
    if (isUsed && !status.textContent) status.textContent = "The new prompt is used.";
  }

  async function compare() {
    show();
    compareButton.disabled = true;
    while (!signal.aborted) {
      const found = await attempt(error, () => comparison(task.name, task.run.run));
      if (!found || found.state === "ready") {
        status.textContent = "";
        if (found) place.replaceChildren(...contents(task, found));
        break;
      }
      status.textContent = `Both prompts answer the corrected notes: ${found.done} of ${found.of} …`;
      await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
    }
    compareButton.disabled = false;
    show();
  }

  async function change(work) {
    const values = await attempt(error, work);
    if (!values) return;
    status.textContent = values.served?.version === task.run?.run ? "The new prompt is used." : "The prompt before is used again.";
    onUsed(values);
    show();
    panel.querySelector("h3").focus();
  }

  return { element: panel, show, compare };
}

function contents(task, found) {
  const named = [["made since, not trained on", found.not_trained, false], ["that the new prompt was trained on", found.trained, true]];
  const lines = named
    .filter(([, scores]) => scores)
    .map(([words, scores, isTrained]) => {
      const own = found.notes.filter((one) => one.is_trained === isTrained);
      return [`${scores.num} ${words}${oldWords(own)}`, ...bothScores(task, scores, own)];
    });
  const rows = [...found.notes].sort((one, other) => change(other) - change(one)).map((row) => rowOf(task, row));
  return [
    table(`Scores on corrections (${metricName(found.metric)})`, ["Corrections", "Old", "New"], lines),
    element("p", { class: "hint" }, found.note),
    table("Answers", ["Note", "Right", "Old", "New"], rows),
  ];
}

/** Name the prompt that an undo uses again. */
function promptWords(before) {
  return before?.corrections ? `the prompt trained on ${many(before.corrections, "correction")}` : "the prompt without training";
}

/** Say on how many notes the old prompt was trained, too; nothing if on none. */
function oldWords(notes) {
  const number = notes.filter((one) => one.old_is_trained).length;
  return number ? ` (the old prompt was trained on ${number} of them)` : "";
}

/** Return the scores of both prompts on notes in words. */
function bothScores(task, { num, old, new: later }, notes) {
  const right = (name) => notes.filter((one) => one[name]).length;
  return [
    scoreWords(task, { ...old, num, num_right: right("old_is_same") }),
    scoreWords(task, { ...later, num, num_right: right("new_is_same") }),
  ];
}

/** Return whether the two answers differ in being right, so that these notes come first. */
function change(row) {
  return Number(row.old_is_same !== row.new_is_same);
}

function rowOf(task, row) {
  const verdict = (answer, isSame) =>
    element("span", {}, element("strong", { class: isSame ? "right" : "wrong" }, isSame ? "✓ right" : "✗ wrong: "), isSame ? "" : inWords(task, row, answer));
  return [
    element("span", {}, inShort(task, row), row.is_trained ? "" : element("small", {}, " not trained on")),
    inWords(task, row, row.answer),
    verdict(row.old, row.old_is_same),
    verdict(row.new, row.new_is_same),
  ];
}
