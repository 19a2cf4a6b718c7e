// The page: asks for the token, and shows the part that the address names.

import { fetchTasks, forgetToken, hasToken, keepToken, takeToken } from "./api.js";
import { byId } from "./elements.js";
import { listenToReading, showServed } from "./reading.js";
import { leaveTeaching, showTeaching } from "./teaching.js";
import { hideParts, placeInAddress, showPart } from "./views.js";

function askForToken(words = "") {
  forgetToken();
  leaveTeaching();
  hideParts();
  byId("parts").hidden = true;
  byId("token-form").hidden = false;
  byId("token-error").textContent = words;
  byId("token").focus();
}

async function start() {
  if (!hasToken()) {
    askForToken();
    return;
  }
  try {
    const tasks = await fetchTasks();
    byId("page-error").textContent = "";
    byId("token-form").hidden = true;
    byId("parts").hidden = false;
    show(placeInAddress() ?? { name: tasks.length ? "read" : "teach", rest: [] }, tasks);
  } catch (error) {
    if (error.status === 401) askForToken(error.message);
    else byId("page-error").textContent = error.message;
  }
}

function show(place, tasks) {
  showPart(place.name);
  if (place.name === "teach") {
    showTeaching(place.rest, askForToken);
  } else {
    leaveTeaching();
    showServed(tasks);
  }
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(byId("token").value);
  byId("token").value = "";
  start();
});
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address keeps the part that is shown
  byId("main").focus();
});
window.addEventListener("hashchange", () => {
  takeToken();
  start();
});

takeToken();
listenToReading(askForToken);
start();
