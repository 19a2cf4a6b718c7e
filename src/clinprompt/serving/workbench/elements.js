// Make elements of the page. Text only ever becomes text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

function build(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") made.toggleAttribute(name, value);
    else if (value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Return an HTML element; attributes that begin with "on" are listeners. */
export function element(name, attributes = {}, ...children) {
  return build(document.createElement(name), attributes, children);
}

/** Return an SVG element. */
export function drawing(name, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, name), attributes, children);
}

/** Return the element of the page with an id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Return a table with a caption; each row is a list of texts or elements. */
export function table(caption, heads, rows) {
  const cells = (row) => row.map((value) => element("td", {}, value));
  return element(
    "div",
    { class: "scrolls", tabindex: "0", role: "region", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells(row)))),
    ),
  );
}

/** Return a section with a heading. */
export function titled(title, attributes, ...children) {
  const id = `title-${title.toLowerCase().replace(/\W+/g, "-")}`;
  return element("section", { "aria-labelledby": id, ...attributes }, element("h3", { id }, title), ...children);
}

/** Return a button. */
export function button(words, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, ...[words].flat());
}

/** Return a line for errors, which are read out when they appear. */
export function errorLine() {
  return element("p", { class: "error", role: "alert" });
}
