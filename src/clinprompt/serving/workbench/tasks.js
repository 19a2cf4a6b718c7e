// The choice of tasks, and inputs for what the chosen tasks read in addition to the note.

import { GROUPS, groupOf } from "./answers.js";
import { byId, element } from "./elements.js";

const chosen = new Set();
let tasks = [];

/** Show checkboxes for all tasks, grouped by what their answers are. */
export function showTasks(served, onChange) {
  tasks = served;
  for (const name of [...chosen]) if (!served.some((task) => task.name === name)) chosen.delete(name);
  if (served.length === 1) chosen.add(served[0].name);
  const groups = Object.keys(GROUPS).map((group) => {
    const own = served.filter((task) => groupOf(task) === group);
    return own.length ? groupBox(GROUPS[group], own, onChange) : null;
  });
  byId("tasks").replaceChildren(...groups.filter((group) => group !== null));
}

function groupBox(title, own, onChange) {
  const boxes = own.map((task) => {
    const box = element("input", {
      type: "checkbox",
      value: task.name,
      onchange: () => {
        if (box.checked) chosen.add(task.name);
        else chosen.delete(task.name);
        onChange();
      },
    });
    box.checked = chosen.has(task.name);
    const about = aboutTask(task);
    const label = element("label", { title: task.instruction }, box, " ", task.name);
    if (!about) return label;
    const id = `about-${task.name}`;
    box.setAttribute("aria-describedby", id);
    return element("div", {}, label, element("p", { id, class: "hint about-task" }, about));
  });
  return element("fieldset", {}, element("legend", {}, title), ...boxes);
}

/** Return the title of a task, and that its prompt is untrained if so; or "". */
function aboutTask({ name, title, is_trained }) {
  return [title === name ? "" : title, is_trained ? "" : "untrained prompt (zero-shot)"].filter(Boolean).join(" · ");
}

/** Return a task of the server. */
export function servedTask(name) {
  return tasks.find((task) => task.name === name);
}

/** Say what to do where no task is chosen. */
export function howToChoose() {
  return tasks.length ? "Choose at least one task." : "No task yet: make one under Teach.";
}

/** Return the chosen tasks, in the order of the server. */
export function chosenTasks() {
  return tasks.filter((task) => chosen.has(task.name));
}

/** Show an input for each further field of the chosen tasks; what is typed goes into the note. */
export function showFields(note, onChange) {
  const own = chosenTasks();
  const names = new Set(own.flatMap((task) => task.fields.filter((name) => name !== "text")));
  const inputs = [...names].map((name) => {
    const readers = own.filter((task) => task.fields.includes(name)).map((task) => task.name);
    return fieldInput(name, readers, note.fields[name] ?? "", (value) => {
      note.fields[name] = value;
      onChange();
    });
  });
  const asks = own.filter((task) => task.answer === "choice").map((task) => task.name);
  if (asks.length) {
    inputs.push(
      fieldInput("options, one a line", asks, note.options.join("\n"), (value) => {
        note.options = value.split("\n").map((line) => line.trim()).filter(Boolean);
        onChange();
      }),
    );
  }
  byId("fields").replaceChildren(...inputs);
}

function fieldInput(name, readers, value, onInput) {
  const id = `field-${name.replace(/\W+/g, "-")}`;
  const area = element("textarea", { id, rows: name.startsWith("options") ? 4 : 2, oninput: () => onInput(area.value) });
  area.value = value;
  return element(
    "div",
    { class: "field" },
    element("label", { for: id }, name, element("small", {}, ` for ${readers.join(", ")}`)),
    area,
  );
}

/** Return what a note lacks for a task, in words, or "". */
export function lacking(task, note) {
  const missing = task.fields.filter((name) => !note.fields[name]?.trim());
  if (task.answer === "choice" && note.options.length < 2) missing.push("two or more options");
  return missing.length ? `${task.name}: fill in ${missing.join(", ")}` : "";
}

/** Return the request for a note. */
export function requestFor(note, own) {
  const { text, ...rest } = note.fields;
  const read = new Set(own.flatMap((task) => task.fields));
  const fields = Object.fromEntries(Object.entries(rest).filter(([name]) => read.has(name)));
  const options = own.some((task) => task.answer === "choice") ? note.options : [];
  return { id: note.id, tasks: own.map((task) => task.name), text, fields, options };
}
