// The parts of the page, and which of them the address names: "#read", "#teach", "#teach/TASK".

import { byId } from "./elements.js";

const NAMES = ["read", "teach"];
const WHERE_KEPT = {
  read: "Notes and answers stay in this tab. Closing it forgets them.",
  teach: "Notes and corrections are kept in the workspace folder of the server.",
};

/** Return the part that the address names and what follows, or null if it names none. */
export function placeInAddress() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  return NAMES.includes(name) ? { name, rest: rest.map(decodeURIComponent) } : null;
}

/** Return the address of a place within the part that teaches. */
export function teachAddress(...rest) {
  return ["#teach", ...rest.map(encodeURIComponent)].join("/");
}

/** Show one part. */
export function showPart(name) {
  byId("work").hidden = name !== "read";
  byId("teach").hidden = name !== "teach";
  nameTab(name === "teach" ? "Teach" : "");
  byId("where-kept").textContent = WHERE_KEPT[name];
  for (const one of NAMES) {
    const link = byId(`to-${one}`);
    if (one === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Put what is shown into the title of the browser's tab. */
export function nameTab(words) {
  document.title = words ? `${words} – clinprompt workbench` : "clinprompt workbench";
}

/** Show no part, as long as there is no token. */
export function hideParts() {
  byId("work").hidden = true;
  byId("teach").hidden = true;
}
