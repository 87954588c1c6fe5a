// A question to a course, answered as a stream. Nothing is asked twice by itself, since an answer costs the AI Brain a call; only an expired session is waited
// for.

import { Problem, problemOf, signedInAgain, unreachable } from "./api.js";
import { eventsOf } from "./event-lines.js";

const QUIET_SECONDS = 60;

/** Yields `{name, data}`: `sources`, each `part`, `end`. Throws Problem, or the reason of `signal` when that aborts. */
export async function* ask(course, question, signal) {
  const quiet = new AbortController();
  let timer = 0;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => quiet.abort(), QUIET_SECONDS * 1000);
  };
  try {
    const answer = await post(course, question, AbortSignal.any([signal, quiet.signal]), wait);
    for await (const event of eventsOf(answer.body, wait)) {
      if (event.name === "error") throw problemOf(event.data.status, JSON.stringify(event.data), null);
      yield event;
      if (event.name === "end") return;
    }
    throw new Problem("The answer broke off.");
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw error instanceof Problem ? error : unreachable();
  } finally {
    clearTimeout(timer);
  }
}

async function post(course, question, signal, wait) {
  for (;;) {
    wait();
    const answer = await fetch(`/courses/${encodeURIComponent(course)}/ask`, {
      method: "POST",
      headers: { Accept: "text/event-stream", "Content-Type": "application/json" },
      body: JSON.stringify({ question }),
      signal,
    });
    if (answer.ok) return answer;
    if (answer.status !== 401) throw problemOf(answer.status, await answer.text(), answer.headers.get("Retry-After"));
    await signedInAgain();
  }
}
