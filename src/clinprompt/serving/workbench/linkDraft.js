// The links of one note while they are corrected. A link is made in steps: begin, end, name.

import { Draft } from "./draft.js";
import { isSame, overlap } from "./words.js";

/** A draft of links. Each change returns what happened, in words. */
export class LinkDraft {
  #draft;
  #types;
  #from = null;
  #to = null;

  constructor({ relations = [] }, types) {
    this.#types = types;
    const links = relations.map(({ type, head, tail, probability }) => ({ type, head: endOf(head), tail: endOf(tail), probability }));
    this.#draft = new Draft(links);
  }

  get shown() {
    return { relations: this.#draft.items };
  }

  get answer() {
    return { relations: this.#draft.items.map(({ type, head, tail }) => ({ type, head, tail })) };
  }

  get nothing() {
    return { relations: [] };
  }

  get isEmpty() {
    return !this.#draft.items.length;
  }

  /** The ends of the link that is being made. */
  get pending() {
    return [this.#from, this.#to].filter(Boolean);
  }

  get isLinking() {
    return this.#from !== null;
  }

  namesAt(place) {
    return this.#at(place).map((link) => link.type);
  }

  /** Begin a link at a place, or end the one that was begun. */
  link(place, hasSelection) {
    const end = this.#endAt(place, hasSelection);
    if (!this.#from) {
      this.#from = end;
      return "The link begins here. Move to its other end and press R again";
    }
    if (isSame(this.#from, end)) return "The link begins here. Move to its other end first";
    this.#to = end;
    return this.#types.length === 1 ? this.#add(this.#types[0]) : "The link ends here. Press the digit of its type";
  }

  /** Name the link that is being made, or the last one of those at a place. */
  label(place, hasSelection, type) {
    if (this.#from) {
      this.#to ??= this.#endAt(place, hasSelection);
      if (!isSame(this.#from, this.#to)) return this.#add(type);
      this.#to = null;
      return "The link begins here. Move to its other end first";
    }
    const link = this.#at(place).at(-1);
    if (!link) return "Press R to begin a link here";
    this.#draft.change(this.#draft.items.map((one) => (one === link ? { ...link, type, probability: undefined } : one)));
    return `Now ${type}`;
  }

  remove(place) {
    const link = this.#at(place).at(-1);
    return link ? this.removeLink(link) : "There is no link here";
  }

  removeLink(link) {
    this.#draft.change(this.#draft.items.filter((one) => one !== link));
    return `Deleted ${link.type}`;
  }

  /** Forget the link that was begun; return whether there was one. */
  cancel() {
    const was = this.isLinking;
    this.#from = this.#to = null;
    return was;
  }

  undo() {
    return this.cancel() || this.#draft.undo();
  }

  #add(type) {
    const link = { type, head: this.#from, tail: this.#to };
    this.cancel();
    const same = (one) => one.type === type && isSame(one.head, link.head) && isSame(one.tail, link.tail);
    if (this.#draft.items.some(same)) return "This link is there already";
    this.#draft.change([...this.#draft.items, link]);
    return `Linked as ${type}`;
  }

  #at(place) {
    return this.#draft.items.filter((link) => overlap(link.head, place) || overlap(link.tail, place));
  }

  /** Return the end of a link at a place: the selection, or a known end around it, or the word. */
  #endAt(place, hasSelection) {
    const known = this.#draft.items.flatMap((link) => [link.head, link.tail]);
    return (!hasSelection && known.find((end) => overlap(end, place))) || place;
  }
}

function endOf({ start, end, type }) {
  return type ? { start, end, type } : { start, end };
}
