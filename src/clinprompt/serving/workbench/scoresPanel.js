// The test on unseen notes: how each prompt did on the notes that were corrected while it was served.

import { attempt } from "./attempts.js";
import { many } from "./counts.js";
import { button, element, errorLine, titled } from "./elements.js";
import { hasInterval, intervalBar, isCounted, metricName, scoreWords } from "./scoreWords.js";
import { scores } from "./workspace.js";

/** Return the panel; `show` asks the server once more. `correcting` has the order of notes. */
export function scoresPanel(task, signal, correcting) {
  const error = errorLine();
  const list = element("ul", { class: "score-rows" });
  const note = element("p", { class: "hint" });
  const panel = titled("Test on unseen notes", { class: "card stack" }, list, element("details", {}, element("summary", {}, "What is counted"), note), error);
  let asked = 0;

  async function show() {
    asked += 1;
    const number = asked;
    const found = await attempt(error, () => scores(task.name));
    if (!found || number !== asked || signal.aborted) return;
    list.replaceChildren(...found.prompts.filter((one) => one.num || one.is_served).map((one) => rowOf(task, one, found, correcting)));
    note.textContent = `${found.scorer}. ${found.note}`;
  }

  return { element: panel, show };
}

function rowOf(task, prompt, { metric, too_few }, correcting) {
  const { num } = prompt;
  const name = prompt.version === 0 ? "Untrained prompt" : `Prompt trained on ${many(prompt.corrections, "correction")}`;
  return element(
    "li",
    {},
    element("p", {}, element("strong", {}, name), prompt.is_served ? " · served now" : ""),
    ...(num ? [] : emptyParts(correcting)),
    num ? element("p", {}, onNotes(task, prompt, metric)) : null,
    hasInterval(prompt) ? intervalBar(prompt) : null,
    num && num < too_few ? element("p", { class: "hint" }, `Fewer than ${too_few} notes: too few to tell.`) : null,
    notCounted(prompt),
  );
}

function onNotes(task, prompt, metric) {
  const words = scoreWords(task, prompt);
  if (isCounted(task, prompt)) return words;
  if (prompt.value === null) return `No score: there is nothing to find in these ${prompt.num} notes, and nothing was found.`;
  return `${metricName(metric)} ${words} on ${many(prompt.num, "note")}`;
}

/** Say how the test is filled, and offer the order that fills it. */
function emptyParts(correcting) {
  if (correcting.isRandom()) return [element("p", {}, "Empty. Each note in random order that you correct fills it.")];
  return [
    element("p", {}, "Empty. Only notes in random order fill this test, and the order is now least sure first."),
    button("Switch to random order", correcting.drawAtRandom, { class: "at-start" }),
  ];
}

function notCounted({ left_out, skipped }) {
  const parts = [
    left_out.least_sure ? `${left_out.least_sure} corrected least sure first` : "",
    left_out.taken_from ? `${left_out.taken_from} drawn after the least sure had been taken` : "",
    left_out.trained ? `${left_out.trained} on which it was trained` : "",
    skipped ? `${skipped} skipped` : "",
  ].filter(Boolean);
  return parts.length ? element("p", { class: "hint" }, `Not counted: ${parts.join(", ")}.`) : null;
}
