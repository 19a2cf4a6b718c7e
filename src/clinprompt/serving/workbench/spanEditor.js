// Correct mentions or links in a note, by keys and by mouse.

import { button, element } from "./elements.js";
import { keyed, labelButtons } from "./keys.js";
import { LinkDraft } from "./linkDraft.js";
import { linksOf } from "./links.js";
import { Hues, marksOf } from "./marks.js";
import { MentionDraft } from "./mentionDraft.js";
import { WordText } from "./wordText.js";

const MOVES = {
  ArrowLeft: (text, extend) => text.move(-1, extend),
  ArrowRight: (text, extend) => text.move(1, extend),
  ArrowUp: (text, extend) => text.moveLine(-1, extend),
  ArrowDown: (text, extend) => text.moveLine(1, extend),
};

/** Return an editor for the mentions or the links of a note; `say` is told what happens. */
export function spanEditor(task, note, answer, say) {
  const types = task.labels.map((label) => label.name);
  const areLinks = task.answer === "relations";
  const draft = areLinks ? new LinkDraft(answer, types) : new MentionDraft(answer);
  const hues = new Hues();
  for (const type of types) hues.of(task.name, type);
  const describe = () => {
    const names = draft.namesAt(text.place);
    say(`${text.words}${names.length ? `, ${names.join(", ")}` : ""}${text.hasSelection ? ", selected" : ""}`, "quietly");
  };
  const text = new WordText(
    note.text,
    { role: "application", "aria-label": "Note to correct", "aria-describedby": "keys" },
    describe,
  );
  const list = element("div", { class: "made" });

  function show() {
    const shown = [{ task: task.name, ...draft.shown }];
    const links = linksOf(shown, hues);
    text.show(marksOf(shown, hues), links, [...links.flatMap((link) => [link.head, link.tail]), ...draft.pending]);
    if (areLinks) list.replaceChildren(...links.map((link, at) => linkRow(link, draft.shown.relations[at])));
  }

  function linkRow(link, item) {
    const words = `${text.wordsOf(link.head)} → ${text.wordsOf(link.tail)} (${link.type})`;
    return element("p", {}, words, " ", button("Delete", () => changed(draft.removeLink(item)), { "aria-label": `Delete ${words}` }));
  }

  function changed(words, where = "") {
    text.clearSelection();
    show();
    say(where ? `${words}: ${where}` : words);
    text.element.focus();
  }

  const acts = {
    label: (type) => changed(draft.label(text.place, text.hasSelection, type), areLinks ? "" : text.words),
    remove: () => changed(draft.remove(text.place)),
    link: () => changed(draft.link(text.place, text.hasSelection)),
    cancel: () => changed(draft.cancel?.() ? "No link is begun" : "Nothing is selected"),
  };

  function keydown(event) {
    const digit = Number(event.key) - 1;
    if (MOVES[event.key]) MOVES[event.key](text, event.shiftKey);
    else if (types[digit]) acts.label(types[digit]);
    else if (["Backspace", "Delete"].includes(event.key)) acts.remove();
    else if (areLinks && (event.key.toLowerCase() === "r" || (event.key === "Enter" && draft.isLinking))) acts.link();
    else if (event.key === "Escape") acts.cancel();
    else return false;
    return true;
  }

  show();
  return {
    element: element("div", { class: "span-editor" }, text.element, list),
    tools: [
      labelButtons(task, hues, acts.label),
      element(
        "div",
        { class: "buttons", role: "group", "aria-label": "Change" },
        areLinks ? keyed("Link", "R", acts.link) : null,
        keyed("Delete", "Backspace", acts.remove, "⌫"),
      ),
    ],
    keys: `Arrow keys move by word and line, Shift extends the selection${areLinks ? ", R begins and ends a link" : ""}, Esc clears. Or drag over words with the mouse.`,
    nothing: draft.nothing,
    answer: () => draft.answer,
    undo: () => draft.undo() && (changed("Took back the last change"), true),
    focus: () => text.element.focus(),
    focusable: text.element,
    keydown,
  };
}
