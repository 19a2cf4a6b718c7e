// What answers hold: their groups, their items, and the lowest probability among these.

export const GROUPS = {
  spans: "Mentions",
  relations: "Links",
  label: "Labels",
  choice: "Questions with options",
  text: "Summaries and texts",
};

/** Return the group of a task: a key of GROUPS. */
export function groupOf(task) {
  return task.answer in GROUPS ? task.answer : "text";
}

/** Return the parts of an answer that have a probability. */
export function itemsOf(answer) {
  if (answer.entities) return answer.entities;
  if (answer.relations) return answer.relations;
  return answer.probability === undefined ? [] : [answer];
}

/** Return the lowest probability of an answer: 0 if it could not be read, null if it has none. */
export function lowestOf(answer) {
  if (answer.unparseable !== undefined) return 0;
  const found = itemsOf(answer).map((item) => item.probability ?? 1);
  return found.length ? Math.min(...found) : null;
}

/** Return the lowest probability of several answers, or null. */
export function lowest(answers) {
  const found = answers.map(lowestOf).filter((value) => value !== null);
  return found.length ? Math.min(...found) : null;
}
