// What the address holds: `?course=…&q=…&mode=ask&material=…&page=…`, so that a page can be reloaded, bookmarked and sent to somebody. An open reader is a step of the
// browser's history: "back" closes it.

const TICKET = "#sign-in=";

/** What the address says now. `page`: a number from 1; `mode`: what is done with `q`, "search" or "ask". */
export function read() {
  const query = new URLSearchParams(location.search);
  return {
    course: query.get("course") ?? "",
    q: query.get("q") ?? "",
    mode: query.get("mode") === "ask" ? "ask" : "search",
    material: query.get("material") ?? "",
    page: Math.max(1, Number.parseInt(query.get("page") ?? "1", 10) || 1),
  };
}

/** Changes some of it. `null` and "" take a name out; `step`: whether "back" leads to where it was before. */
export function write(changes, { step = false } = {}) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const url = `${location.pathname}${query.size ? `?${query}` : ""}`;
  if (step) history.pushState({ step: true }, "", url);
  else history.replaceState(history.state, "", url);
}

/** Undoes a `write` with `step`, where there was one; says whether there was. */
export function stepBack() {
  const stepped = history.state?.step === true;
  if (stepped) history.back();
  return stepped;
}

/** The sign-in ticket of a pasted link or of the fragment of an address; null without one. */
export function ticketIn(text) {
  const start = text.indexOf(TICKET);
  return start < 0 ? null : decodeURIComponent(text.slice(start + TICKET.length).trim());
}

/** Takes the ticket out of the address, and so out of the browser's history; null without one. */
export function takeTicket() {
  const ticket = ticketIn(location.hash);
  if (ticket !== null) history.replaceState(history.state, "", location.pathname + location.search);
  return ticket;
}
