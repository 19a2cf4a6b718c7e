// Say how many there are.

/** Return a number with its noun, in the plural unless it is one. */
export function many(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
