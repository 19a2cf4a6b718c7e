// Say an answer in words, for tables.

import { many } from "./counts.js";
import { slice } from "./offsets.js";

const NOTHING = "nothing";
export const NOTHING_FOUND = "The model found nothing here.";

/** Return an answer in few words: mentions and links are only counted. */
export function inBrief(answer) {
  const items = answer.entities ?? answer.relations;
  if (!items) return answer.label ?? answer.text;
  const word = answer.entities ? "mention" : "link";
  return items.length ? many(items.length, word) : `no ${word}s`;
}

/** Return an answer to a note of a task in words. */
export function inWords(task, note, answer) {
  const words = ({ start, end }) => slice(note.text, start, end).replace(/\s+/g, " ");
  if (answer.unparseable !== undefined) return "no valid form";
  if (answer.entities) return answer.entities.map((one) => `${words(one)} (${one.type})`).join(", ") || NOTHING;
  if (answer.relations) {
    return answer.relations.map((one) => `${words(one.head)} → ${words(one.tail)} (${one.type})`).join(", ") || NOTHING;
  }
  return answer.label ?? (answer.text || "an empty text");
}
