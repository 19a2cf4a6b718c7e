// The loop of corrections: offer a note, take its right answer, offer the next one.

import { attempt } from "./attempts.js";
import { element, errorLine, titled } from "./elements.js";
import { keyed } from "./keys.js";
import { noteEditor } from "./noteEditor.js";
import { correct, offer, skip, undo } from "./workspace.js";

const KEPT = "clinprompt-order"; // how the notes are chosen; nothing of a note is kept in the browser
const ORDERS = { least_sure: "least sure first", random: "random" };
const WHY = "Least sure first is for teaching the model with few corrections; random order is for the test on unseen notes, which counts no others.";

/**
 * Return the panel that offers notes. `onChange` is called with the counts when a note is done,
 * `onOrder` when another order is chosen.
 */
export function correctingPanel(task, { onChange, onOrder }) {
  let editor = null;
  let shownOffer = null;
  let isBusy = false;
  let later = null;
  const error = errorLine();
  const about = element("p", { class: "about-note" });
  const place = element("div", { class: "editor-place" });
  const order = element("select", { id: "offer-order", "aria-describedby": "order-why", onchange: () => soon(() => reorder()) }, ...Object.entries(ORDERS).map(([value, words]) => element("option", { value }, words)));
  order.value = sessionStorage.getItem(KEPT) in ORDERS ? sessionStorage.getItem(KEPT) : "least_sure";

  /** Do one thing at a time: keys that come meanwhile are not meant for the next note. */
  async function busy(work) {
    if (isBusy) return;
    isBusy = true;
    editor?.setBusy(true);
    try {
      await work();
      while (later) {
        const next = later;
        later = null;
        await next();
      }
    } finally {
      isBusy = false;
      editor?.setBusy(false);
    }
  }

  /** Do something now, or as soon as what is being done is done. */
  function soon(work) {
    if (isBusy) later = work;
    else busy(work);
  }

  function reorder(takesFocus = false) {
    sessionStorage.setItem(KEPT, order.value);
    onOrder();
    return next("", takesFocus);
  }

  /** Offer notes in random order from now on. */
  function drawAtRandom() {
    order.value = "random";
    soon(() => reorder(true));
  }

  async function next(words, takesFocus) {
    about.textContent = "The model reads the next note …";
    const found = await attempt(error, () => offer(task.name, order.value));
    if (!found) {
      about.textContent = editor ? aboutOffer(shownOffer, task) : "";
    } else if (found.note) show(found, found.suggestion, words, takesFocus);
    else showNone(words, takesFocus);
  }

  function show(found, answer, words, takesFocus = true) {
    shownOffer = found;
    about.textContent = aboutOffer(found, task);
    editor = noteEditor(task, found, answer, does);
    place.replaceChildren(editor.element);
    error.textContent = "";
    if (words) editor.say(words);
    if (takesFocus) editor.focus();
  }

  function showNone(words = "", takesFocus = false) {
    editor = null;
    about.textContent = `${words ? `${words} ` : ""}${task.notes.corrected ? "No note waits. Add more below, or adapt." : "Add notes to begin."}`;
    undoLast.hidden = !task.can_undo_correction;
    place.replaceChildren(undoLast);
    if (takesFocus) heading.focus();
  }

  /** Show how many notes wait now. */
  function showCounts() {
    if (editor && !isBusy) about.textContent = aboutOffer(shownOffer, task);
  }

  /** Show a corrected note with its answer once more. */
  function again(row) {
    const old = { note: row, suggestion: row.said, counts: row.counts, order: row.order };
    show(old, row.answer, "Correct this note again.");
  }

  const does = {
    accept: (answer) =>
      busy(async () => {
        const made = await attempt(error, () => correct(task.name, shownOffer.note.note, answer));
        if (made) await done(made, made.is_same ? "Saved: the model was right." : "Saved: corrected.");
      }),
    skip: () =>
      busy(async () => {
        const made = await attempt(error, () => skip(task.name, shownOffer.note.note));
        if (made) await done(made, "Skipped.");
      }),
    undo: () =>
      busy(async () => {
        const made = await attempt(error, () => undo(task.name));
        if (!made) return;
        onChange(made);
        show(made.offer, made.answer ?? made.offer.suggestion, `Taken back: this note is not ${made.undone} any more.`);
      }),
  };

  async function done(made, words) {
    onChange(made);
    await next(words, true);
  }

  const undoLast = keyed("Undo", "Z", does.undo);
  const panel = titled(
    "Correct",
    { class: "card correcting" },
    about,
    error,
    place,
    element("div", { class: "field order" }, element("label", { for: "offer-order" }, "Order of notes"), order, element("p", { id: "order-why", class: "hint" }, WHY)),
  );
  const heading = panel.querySelector("h3");
  heading.tabIndex = -1;
  const start = (words = "", takesFocus = false) => soon(() => next(words, takesFocus));

  const say = (words) => editor?.say(words);

  /** Offer a note if none is in the editor; what is being corrected there stays. */
  function notesAdded(words, takesFocus) {
    if (!editor) start(words, takesFocus);
    else {
      say(words);
      if (takesFocus) editor.focus();
    }
  }

  /** Offer another note if the one in the editor is no more; null stands for several notes. */
  function noteRemoved(number) {
    if (number === null || number === shownOffer?.note.note || !editor) start();
  }

  const isRandom = () => order.value === "random";
  return { element: panel, start, say, notesAdded, noteRemoved, showNone, showCounts, again, isRandom, drawAtRandom };
}

function aboutOffer({ note, waiting, compared, counts, order }, task) {
  const among = compared > 1 ? ` of ${compared} compared so far` : "";
  const chosen = order === "random" ? "drawn at random" : `least sure${among}`;
  const why = order === "random" ? ", because least sure ones were taken before" : "";
  const test = counts ? "counts for the test" : `does not count for the test${why}`;
  const left = waiting === undefined ? "" : ` · ${task.notes.waiting} to go`;
  return `Note ${note.id || note.note}${left} · ${chosen} · ${test}`;
}
