// Run notes: one, or all of them, some at a time. A full queue of the server is waited for.

import { predict, Refused } from "./api.js";
import { clearAnswers, isBlank } from "./notes.js";
import { chosenTasks, howToChoose, lacking, requestFor } from "./tasks.js";

const AT_A_TIME = 4;
const PAUSE_MILLISECONDS = 1000;

/** Run one note and keep its answers or its error in it. Throws only if the token is refused. */
export async function runNote(note, signal) {
  clearAnswers(note);
  const own = chosenTasks();
  note.notAsked = own.map((task) => lacking(task, note)).filter(Boolean);
  const asked = own.filter((task) => !lacking(task, note));
  if (!asked.length) {
    note.state = own.length ? "failed" : "not run";
    note.error = own.length ? "No chosen task can be asked: see what is missing." : howToChoose();
    return;
  }
  note.state = "running";
  const outcome = await outcomeOf(requestFor(note, asked), signal);
  if (note.state === "running") Object.assign(note, outcome); // else its text was changed meanwhile
  if (outcome.isTokenRefused) throw new Refused(401);
}

async function outcomeOf(request, signal) {
  try {
    const { answers, seconds } = await patientPredict(request, signal);
    return { state: "done", answers, seconds };
  } catch (error) {
    if (error.name === "AbortError") return { state: "not run" };
    if (!(error instanceof Refused)) throw error;
    return { state: "failed", error: error.message, isTokenRefused: error.status === 401 };
  }
}

async function patientPredict(request, signal) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await predict(request, signal);
    } catch (error) {
      if (error.status !== 429 || tries === 5) throw error;
      await new Promise((resolve) => setTimeout(resolve, tries * PAUSE_MILLISECONDS));
    }
  }
}

/** Run all notes that are not blank; `onChange` is called whenever a note changes. */
export async function runAll(notes, signal, onChange) {
  const waiting = notes.filter((note) => !isBlank(note));
  const worker = async () => {
    while (waiting.length && !signal.aborted) {
      const running = runNote(waiting.shift(), signal);
      onChange();
      await running;
      onChange();
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}
