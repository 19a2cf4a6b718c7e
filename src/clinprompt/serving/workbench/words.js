// Cut a text into words, between which the cursor moves. Offsets count code points.

const segmenter = new Intl.Segmenter("en", { granularity: "word" });

/** Return the words and punctuation marks of a text as spans, in order. */
export function wordsIn(text) {
  const words = [];
  let start = 0;
  for (const { segment } of segmenter.segment(text)) {
    const end = start + [...segment].length;
    if (segment.trim()) words.push({ start, end });
    start = end;
  }
  return words;
}

/** Return whether two spans share a character. */
export function overlap(one, other) {
  return one.start < other.end && other.start < one.end;
}

/** Return whether two spans are the same place. */
export function isSame(one, other) {
  return one.start === other.start && one.end === other.end;
}
