// The frame around the note that is being corrected: what it is, the keys, and what happened.

import { NOTHING_FOUND } from "./answerWords.js";
import { button, element, errorLine } from "./elements.js";
import { keyed } from "./keys.js";
import { labelEditor } from "./labelEditor.js";
import { spanEditor } from "./spanEditor.js";
import { textEditor } from "./textEditor.js";

const EDITORS = { spans: spanEditor, relations: spanEditor, label: labelEditor, text: textEditor };

/**
 * Return the editor of an offer. `does` has accept(answer, isNothing), skip() and undo(), which
 * the keys and buttons call; `answer` is what is in the editor first.
 */
export function noteEditor(task, offer, answer, does) {
  const happened = element("p", { class: "happened", role: "status", "aria-live": "polite" });
  const cursor = element("p", { class: "visually-hidden", "aria-live": "polite" });
  const error = errorLine();
  const say = (words, quietly) => ((quietly ? cursor : happened).textContent = words);
  const inner = EDITORS[task.answer](task, offer.note, answer, say, offer.suggestion);

  function accept() {
    const right = inner.answer();
    if (right) does.accept(right);
    else error.textContent = inner.missing;
  }

  function undo() {
    if (!inner.undo()) does.undo();
  }

  const acts = { enter: accept, s: does.skip, z: undo, n: () => inner.nothing && does.accept(inner.nothing) };

  function keydown(event) {
    if (event.altKey || (inner.isText && !event.ctrlKey && !event.metaKey)) return;
    if ((event.ctrlKey || event.metaKey) !== Boolean(inner.isText)) return;
    const isOnButton = event.target.closest("button") && ["Enter", " "].includes(event.key);
    if (isOnButton || (inner.isText && event.key !== "Enter")) return;
    const act = acts[event.key.toLowerCase()];
    if (!inner.keydown(event)) {
      if (!act) return;
      if (!event.repeat) act();
    }
    event.preventDefault();
  }

  const plain = (words, key, act, shown) => (inner.isText ? button(words, act) : keyed(words, key, act, shown));
  const buttons = element(
    "div",
    { class: "buttons", role: "group", "aria-label": "Note" },
    keyed("Accept and next", inner.isText ? "Control+Enter" : "Enter", accept, inner.isText ? "Ctrl Enter" : "Enter", { class: "primary" }),
    inner.nothing ? keyed(`No ${task.answer === "relations" ? "links" : "mentions"}`, "N", acts.n) : null,
    plain("Skip", "S", does.skip),
    plain("Undo", "Z", undo),
  );
  const frame = element(
    "div",
    { class: "note-editor", onkeydown: keydown },
    notices(offer.suggestion),
    element("div", { class: "tools" }, ...inner.tools),
    inner.element,
    buttons,
    element("p", { id: "keys", class: "hint" }, inner.keys),
    happened,
    cursor,
    error,
  );
  return { element: frame, error, say, focus: inner.focus, setBusy: (is) => setBusy(frame, is) };
}

function notices({ entities, relations, ungrounded, unparseable, input_was_cut }) {
  const isEmpty = (entities ?? relations)?.length === 0 && unparseable === undefined;
  const parts = [
    isEmpty ? NOTHING_FOUND : null,
    unparseable === undefined ? null : `The model's answer has no valid form: ${unparseable}`,
    ungrounded?.length ? `The model also named what is not in the note: ${ungrounded.join("; ")}` : null,
    input_was_cut ? "The note was too long for the model: it was read in part." : null,
  ].filter(Boolean);
  return parts.length ? element("div", { class: "notice" }, ...parts.map((words) => element("p", {}, words))) : null;
}

function setBusy(frame, isBusy) {
  frame.setAttribute("aria-busy", String(isBusy));
  for (const one of frame.querySelectorAll("button")) one.setAttribute("aria-disabled", String(isBusy));
}
