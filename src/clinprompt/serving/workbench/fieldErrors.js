// Say at an input what is wrong with it.

import { element } from "./elements.js";

/** Return an empty line for what is wrong with inputs, which screen readers read with them. */
export function fieldError(id, ...inputs) {
  for (const input of inputs) {
    const others = input.getAttribute("aria-describedby");
    input.setAttribute("aria-describedby", others ? `${others} ${id}` : id);
  }
  return element("p", { id, class: "error" });
}

/** Say what is wrong with an input, in the line of `fieldError` that describes it. */
export function markWrong(input, words) {
  input.setAttribute("aria-invalid", "true");
  document.getElementById(input.getAttribute("aria-describedby").split(" ").at(-1)).textContent = words;
}

/** Forget what was wrong in a form. */
export function forgetErrors(form) {
  for (const one of form.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
  for (const one of form.querySelectorAll(".error")) one.textContent = "";
}
