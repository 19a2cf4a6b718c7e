// A note in which a cursor moves by word, by keys and by mouse. Knows nothing of what is marked why.

import { element } from "./elements.js";
import { drawArcs } from "./links.js";
import { segmentOf, segments, tagOf } from "./marks.js";
import { slice, unitIndexes } from "./offsets.js";
import { wordsIn } from "./words.js";

export class WordText {
  #text;
  #indexes;
  #words;
  #cursor = 0; // a word
  #anchor = null; // the word at which a selection began
  #column = null; // where the cursor stays when it moves by line
  #onMove;
  #pieces = []; // {start, end, word, node} of each part of the text; word is null between words
  #nodeOfWord = []; // the first node of each word
  #pointed = []; // the pieces under the cursor or the selection
  #drawLinks = () => {};

  /** `onMove` is called when the cursor or the selection has changed. */
  constructor(text, attributes, onMove) {
    this.#text = text;
    this.#indexes = unitIndexes(text);
    this.#words = wordsIn(text);
    this.#onMove = onMove;
    this.element = element("div", { class: "note editable", tabindex: 0, ...attributes });
    this.element.addEventListener("pointerdown", (event) => this.#pressed(event));
    this.element.addEventListener("pointermove", (event) => this.#dragged(event));
    new ResizeObserver(() => this.#drawLinks()).observe(this.element);
  }

  get hasSelection() {
    return this.#anchor !== null;
  }

  /** The selected words, or the word under the cursor, as a span. */
  get place() {
    const [first, last] = this.#range();
    return { start: this.#words[first].start, end: this.#words[last].end };
  }

  get words() {
    return slice(this.#text, this.place.start, this.place.end, this.#indexes);
  }

  wordsOf({ start, end }) {
    return slice(this.#text, start, end, this.#indexes);
  }

  /** Show marks and links; `ends` are spans with a frame. */
  show(marks, links, ends) {
    const cuts = segments(this.#indexes.length - 1, [...marks, ...ends, ...this.#words]);
    this.#pieces = [];
    this.#nodeOfWord = [];
    this.#pointed = [];
    let word = 0;
    const nodes = cuts.flatMap((segment) => {
      while (word < this.#words.length && this.#words[word].end <= segment.start) word += 1;
      const isWord = word < this.#words.length && this.#words[word].start <= segment.start;
      return this.#nodesOf(segment, marks, ends, isWord ? word : null);
    });
    this.element.replaceChildren(...nodes);
    this.element.classList.toggle("with-arcs", links.length > 0);
    this.#drawLinks = () => drawArcs(this.element, links, 0);
    this.#drawLinks();
    this.#point();
  }

  #nodesOf(segment, marks, ends, word) {
    const covers = (span) => span.start <= segment.start && segment.end <= span.end;
    const over = marks.filter(covers);
    const isEnd = ends.some(covers);
    const words = this.wordsOf(segment);
    const node = over.length || isEnd ? segmentOf(words, segment, over, isEnd, 0) : plain(words, segment);
    if (word !== null) {
      node.dataset.word = word;
      this.#nodeOfWord[word] ??= node;
    }
    this.#pieces.push({ ...segment, word, node });
    return [node, ...over.filter((mark) => mark.end === segment.end).map((mark) => tagOf(mark, 0))];
  }

  /** Move by words; `extends` keeps or begins a selection. */
  move(step, extend) {
    this.#column = null;
    this.#go(this.#cursor + step, extend);
  }

  /** Move to the nearest word of the line above (-1) or below (1). */
  moveLine(step, extend) {
    const from = this.#boxOf(this.#cursor);
    this.#column ??= from.left + from.width / 2;
    let best = null;
    let line = null;
    for (let at = this.#cursor + step; at >= 0 && at < this.#words.length; at += step) {
      const box = this.#boxOf(at);
      if (Math.abs(box.top - from.top) < from.height / 2) continue;
      line ??= box.top;
      if (Math.abs(box.top - line) > from.height / 2) break;
      const distance = Math.abs(box.left + box.width / 2 - this.#column);
      if (!best || distance < best.distance) best = { at, distance };
    }
    if (best) this.#go(best.at, extend);
  }

  /** Forget the selection; return whether there was one. */
  clearSelection() {
    const was = this.hasSelection;
    this.#anchor = null;
    this.#point();
    return was;
  }

  #go(target, extend) {
    if (extend) this.#anchor ??= this.#cursor;
    else this.#anchor = null;
    this.#cursor = Math.max(0, Math.min(this.#words.length - 1, target));
    this.#point();
    this.#nodeOfWord[this.#cursor].scrollIntoView({ block: "nearest" });
    this.#onMove();
  }

  #range() {
    const other = this.#anchor ?? this.#cursor;
    return [Math.min(this.#cursor, other), Math.max(this.#cursor, other)];
  }

  /** Show where the cursor and the selection are. */
  #point() {
    for (const { node } of this.#pointed) node.classList.remove("selected", "cursor");
    const { start, end } = this.place;
    this.#pointed = this.#pieces.filter((piece) => piece.start >= start && piece.end <= end);
    for (const { node, word } of this.#pointed) {
      node.classList.toggle("selected", this.hasSelection);
      node.classList.toggle("cursor", word === this.#cursor);
    }
  }

  #boxOf(word) {
    return this.#nodeOfWord[word].getBoundingClientRect();
  }

  #pressed(event) {
    const word = wordUnder(event);
    if (word === null || event.button !== 0) return;
    event.preventDefault(); // no selection of the browser's own beside this one
    this.element.focus({ preventScroll: true });
    this.#column = null;
    this.#go(word, event.shiftKey);
  }

  #dragged(event) {
    const word = event.buttons & 1 ? wordUnder(event) : null;
    if (word !== null && word !== this.#cursor) this.#go(word, true);
  }
}

function plain(words, { start, end }) {
  return element("span", { "data-start": start, "data-end": end }, words);
}

function wordUnder(event) {
  const found = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-word]");
  return found ? Number(found.dataset.word) : null;
}
