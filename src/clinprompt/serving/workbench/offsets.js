// Convert offsets: the server counts code points, JavaScript strings count UTF-16 units.

/** Return the UTF-16 index of each code point of a text, and of its end. */
export function unitIndexes(text) {
  const indexes = [];
  let unit = 0;
  for (const character of text) {
    indexes.push(unit);
    unit += character.length;
  }
  indexes.push(unit);
  return indexes;
}

/** Return the part of a text between two code points. */
export function slice(text, start, end, indexes = unitIndexes(text)) {
  return text.slice(indexes[start], indexes[end]);
}
