// Say how many there are.

/** Return how many corrections there are, of as many as are advised. */
export function correctionsWords(corrected, enough) {
  return corrected > enough ? `${corrected} corrections (${enough} advised)` : `${corrected} of ${enough} corrections`;
}

/** Return a number with its noun, in the plural unless it is one. */
export function many(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
