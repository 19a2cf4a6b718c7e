// Try what the server may refuse, and say why it did.

import { Refused } from "./api.js";
import { wordsOf } from "./workspace.js";

let onTokenRefused = () => {};

/** Set what is called with words if the server refuses the token. */
export function whenTokenIsRefused(does) {
  onTokenRefused = does;
}

/** Return what `work` returns; undefined if the server refuses, which `place` then explains. */
export async function attempt(place, work) {
  try {
    const found = await work();
    place.textContent = "";
    return found;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) onTokenRefused(error.message);
    else place.textContent = wordsOf(error);
    return undefined;
  }
}
