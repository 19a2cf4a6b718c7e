// Ask the server, whose paths are beside the page's own. Knows the token and what to tell people when the server refuses.

const KEPT = "clinprompt-token";

const ADVICE = {
  0: "The server cannot be reached. Check that it still runs and that this machine is connected to it, then try again.",
  400: "The server cannot use this input.",
  401: "The token is missing or wrong. Give the token that the server printed when it started.",
  403: "The server does not accept this address. Ask its administrator to start it with --allowed-host and the name that you use.",
  404: "The server no longer has this task. Load the page again to see the tasks of now.",
  408: "The note did not arrive in time. Run it again.",
  413: "The note is too long. Split it into shorter notes, or ask the administrator to raise the limit.",
  422: "The server cannot read this request. Load the page again: it may be of an older version.",
  429: "The server is busy with other notes. Wait a moment and run the note again.",
  500: "The server failed on this note. Other notes can still be run; the administrator finds the cause in the server's log.",
  503: "The server is starting or shutting down. Try again in a minute.",
  504: "The answer took longer than the server allows. Choose fewer tasks, or run fewer notes at a time.",
};

/** An answer with an error status, in words for people. */
export class Refused extends Error {
  constructor(status, { message = "", param = null } = {}) {
    const advice = ADVICE[status] ?? `The server answered with status ${status}.`;
    super(message && status !== 401 ? `${advice} It says: ${message}` : advice);
    this.status = status;
    this.detail = message;
    this.param = param;
  }
}

/** Move a token from the address bar into this tab; return whether there was one. */
export function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found === null) return false;
  history.replaceState(null, "", location.pathname + location.search);
  keepToken(found);
  return true;
}

/** Keep a token until the tab is closed. */
export function keepToken(token) {
  sessionStorage.setItem(KEPT, token.trim());
}

export function forgetToken() {
  sessionStorage.removeItem(KEPT);
}

export function hasToken() {
  return Boolean(sessionStorage.getItem(KEPT));
}

/** Return the response of a path. Throws a Refused if its status is an error. */
export async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEPT) ?? ""}`, ...options.headers };
  let given;
  try {
    given = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0);
  }
  if (given.ok) return given;
  throw new Refused(given.status, await errorOf(given));
}

async function errorOf(given) {
  try {
    return (await given.json()).error;
  } catch {
    return {}; // not the server itself, for example a proxy
  }
}

/** Return what a path says. */
export async function read(path) {
  return (await ask(path)).json();
}

/** Return the response to a body that is sent to a path. */
export function send(path, body, signal) {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

/** Return the tasks of the server. */
export function fetchTasks() {
  return read("../v1/tasks");
}

/** Return the answers of tasks on one note. */
export async function predict(request, signal) {
  return (await send("../v1/predict", request, signal)).json();
}
