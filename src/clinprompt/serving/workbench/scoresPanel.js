// The honest test: how each prompt did on the notes that were corrected while it was served.

import { attempt } from "./attempts.js";
import { element, errorLine, titled } from "./elements.js";
import { intervalBar, metricName, withInterval } from "./scoreWords.js";
import { scores } from "./workspace.js";

/** Return the panel; `show` asks the server once more. */
export function scoresPanel(task, signal) {
  const error = errorLine();
  const list = element("ul", { class: "score-rows" });
  const note = element("p", { class: "hint" });
  const panel = titled("Honest test", { class: "card stack" }, list, element("details", {}, element("summary", {}, "What is counted"), note), error);
  let asked = 0;

  async function show() {
    asked += 1;
    const number = asked;
    const found = await attempt(error, () => scores(task.name));
    if (!found || number !== asked || signal.aborted) return;
    list.replaceChildren(...found.prompts.filter((one) => one.num || one.is_served).map((one) => rowOf(one, found)));
    note.textContent = `${found.scorer}. ${found.note}`;
  }

  return { element: panel, show };
}

function rowOf(prompt, { metric, too_few }) {
  const { num } = prompt;
  const name = prompt.version === 0 ? "Untrained prompt" : `Prompt trained on ${prompt.corrections} corrections`;
  return element(
    "li",
    {},
    element("p", {}, element("strong", {}, name), prompt.is_served ? " · served now" : ""),
    num ? element("p", {}, `${metricName(metric)} ${withInterval(prompt)} on ${num} ${num === 1 ? "note" : "notes"}`) : element("p", {}, "Empty: corrections of notes in random order fill it."),
    num ? intervalBar(prompt) : null,
    num && num < too_few ? element("p", { class: "hint" }, `Fewer than ${too_few} notes: too few to tell.`) : null,
    notCounted(prompt),
  );
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
