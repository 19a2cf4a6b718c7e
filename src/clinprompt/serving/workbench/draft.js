// A list of mentions or links that is being corrected, with its history. Knows nothing of the page.

export class Draft {
  #items;
  #history = [];

  constructor(items) {
    this.#items = items;
  }

  get items() {
    return this.#items;
  }

  /** Put other items in the place of all. */
  change(items) {
    this.#history.push(this.#items);
    this.#items = items;
  }

  /** Take back the last change; return whether there was one. */
  undo() {
    if (!this.#history.length) return false;
    this.#items = this.#history.pop();
    return true;
  }
}
