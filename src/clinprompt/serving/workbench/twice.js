// A button that deletes: it has to be pressed twice.

import { button } from "./elements.js";

/** Return the button; leaving it after the first press forgets that press. */
export function twice(words, act, attributes = {}) {
  const label = attributes["aria-label"];
  const made = button(words, press, { ...attributes, onblur: reset });
  let isAsked = false;

  function press() {
    if (isAsked) act();
    else ask();
  }

  function ask() {
    isAsked = true;
    made.textContent = "Delete for good?";
    made.classList.add("danger");
    if (label) made.setAttribute("aria-label", `${label} for good?`);
  }

  function reset() {
    if (!isAsked) return;
    isAsked = false;
    made.textContent = words;
    made.classList.remove("danger");
    if (label) made.setAttribute("aria-label", label);
  }

  return made;
}
