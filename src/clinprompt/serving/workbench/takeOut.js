// Export a task: its corrections in several forms, its folder, and its prompt.

import { attempt } from "./attempts.js";
import { button, element, errorLine, titled } from "./elements.js";
import { saveFile } from "./downloads.js";
import { fileOf } from "./workspace.js";

const FORMS = { jsonl: "JSON Lines", csv: "CSV", brat: "brat", label_studio: "Label Studio" };

/** Return the panel. */
export function takeOutPanel(task) {
  const error = errorLine();
  const take = async (path) => {
    const file = await attempt(error, () => fileOf(task.name, path));
    if (file) saveFile(file.name, file.content);
  };
  const forms = Object.entries(FORMS)
    .filter(([form]) => form !== "brat" || ["spans", "relations"].includes(task.answer))
    .map(([form, words]) => button(words, () => take(`corrections/file?form=${form}`)));
  const prompt = button("Served prompt", () => take("artifact"));
  const panel = titled(
    "Export",
    { class: "card stack" },
    element("p", {}, "Corrections"),
    element("div", { class: "buttons" }, ...forms),
    element("p", {}, "Task"),
    element("div", { class: "buttons" }, button("Folder", () => take("folder")), prompt),
    element("p", { class: "hint" }, "The folder has the card and all corrections; clinprompt adapt reads it. The prompt can be served elsewhere."),
    error,
  );
  const show = () => {
    for (const one of forms) one.disabled = !task.notes.corrected;
    prompt.disabled = !task.served;
  };
  return { element: panel, show };
}
