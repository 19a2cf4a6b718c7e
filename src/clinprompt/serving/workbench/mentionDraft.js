// The mentions of one note while they are corrected. Places are spans {start, end} of the text.

import { Draft } from "./draft.js";
import { isSame, overlap } from "./words.js";

/** A draft of mentions. Each change returns what happened, in words. */
export class MentionDraft {
  #draft;

  constructor({ entities = [] }) {
    this.#draft = new Draft(entities.map(({ start, end, type, probability }) => ({ start, end, type, probability })));
  }

  /** What people see: mentions of the suggestion keep their probability. */
  get shown() {
    return { entities: this.#draft.items };
  }

  get answer() {
    return { entities: this.#draft.items.map(({ start, end, type }) => ({ start, end, type })) };
  }

  get nothing() {
    return { entities: [] };
  }

  get isEmpty() {
    return !this.#draft.items.length;
  }

  /** Spans that are marked though they are no mention yet. */
  get pending() {
    return [];
  }

  /** Return the names of what is at a place. */
  namesAt(place) {
    return this.#at(place).map((item) => item.type);
  }

  /**
   * Name a place. A selection becomes a mention in the place of those that it overlaps; without one,
   * the mention under the cursor gets the name, or else the word becomes a mention.
   */
  label(place, hasSelection, type) {
    const met = this.#at(place);
    const [under] = met.filter((one) => isSame(one, place)).concat(met);
    const { start, end } = hasSelection || !under ? place : under;
    const gone = hasSelection ? met : under ? [under] : [];
    this.#draft.change([...this.#draft.items.filter((one) => !gone.includes(one)), { start, end, type }].sort(inOrder));
    return gone.length ? `Now ${type}` : `Marked as ${type}`;
  }

  remove(place) {
    const met = this.#at(place);
    if (!met.length) return "There is no mention here";
    this.#draft.change(this.#draft.items.filter((one) => !met.includes(one)));
    return met.length === 1 ? `Deleted ${met[0].type}` : `Deleted ${met.length} mentions`;
  }

  undo() {
    return this.#draft.undo();
  }

  #at(place) {
    return this.#draft.items.filter((one) => overlap(one, place));
  }
}

function inOrder(one, other) {
  return one.start - other.start || other.end - one.end;
}
