// The list of notes on the side, with the state of each.

import { lowest } from "./answers.js";
import { byId, element } from "./elements.js";
import { ordered } from "./notes.js";
import { shown } from "./sureness.js";

/** Show the notes in an order; `choose` is called with the note that is clicked. */
export function showNotes(notes, current, { order, threshold, choose }) {
  const focused = document.activeElement?.dataset?.key;
  const items = ordered(notes, order).map((note) => {
    const button = element(
      "button",
      { type: "button", "data-key": note.key, "aria-current": note === current ? "true" : undefined, onclick: () => choose(note) },
      element("span", { class: "note-name" }, note.name),
      element("span", { class: `note-state ${note.state.replace(" ", "-")}` }, stateOf(note, threshold)),
    );
    return element("li", {}, button);
  });
  byId("notes").replaceChildren(...items);
  if (focused) byId("notes").querySelector(`[data-key="${focused}"]`)?.focus();
}

function stateOf(note, threshold) {
  if (note.state !== "done") return note.state;
  const value = lowest(note.answers);
  if (value === null) return "done, nothing found";
  return value < threshold ? `done, ? lowest ${shown(value)}` : `done, lowest ${shown(value)}`;
}
