// Who is signed in. One card asks for a token: at the first visit, after signing out, and whenever a call finds that the session has expired. The page behind
// it keeps its state, and whatever waited for the session goes on.

import { call, onExpiredSession, Problem } from "./api.js";
import { takeTicket, ticketIn } from "./address.js";
import { shown } from "./words.js";

const WELCOME = "Upload study material, watch it being read, search it by meaning.";
const EXPIRED = "Your session has ended. Sign in and everything goes on where it was.";

const card = document.getElementById("sign-in");
const form = document.getElementById("sign-in-form");
const token = document.getElementById("token");
const error = document.getElementById("sign-in-error");
const button = document.getElementById("sign-in-button");

// The server takes a token for five more seconds; a timer of a browser takes at most 2^31 milliseconds.
const LEEWAY_MS = 6_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

let current = null;
let asking = null;
let ending = 0;
let listeners = { changed() {}, ended() {} };

/** `{subject, expires_at, courses, operator, features}`, or null while nobody is signed in. */
export const session = () => current;

/** Whether whoever is signed in may upload to a course and change what others uploaded there. */
export function isEditor(course) {
  return [current?.courses?.[course], current?.courses?.["*"]].includes("editor");
}

/** Whether whoever is signed in may retry, cancel or delete a material. */
export const mayChange = (material) => material.owner_id === current?.subject || isEditor(material.course_id);

/** Signs in by the ticket in the address or the session there is; shows the card otherwise. Calls `changed(session)` with each session, `ended()` after signing out. */
export async function startSession({ changed, ended }) {
  listeners = { changed, ended };
  onExpiredSession(askToSignIn);
  form.addEventListener("submit", submit);
  card.addEventListener("cancel", (event) => event.preventDefault());
  addEventListener("hashchange", () => signInByAddress());
  document.getElementById("sign-out").addEventListener("click", signOut);
  if (await signInByAddress()) return;
  try {
    become(await call("GET", "/session", { waitForSignIn: false }));
  } catch (problem) {
    ask(WELCOME, problem.status === 401 ? "" : problem.message);
  }
}

async function signInByAddress() {
  const ticket = takeTicket();
  if (ticket === null) return false;
  try {
    become(await call("POST", "/session", { body: { ticket }, waitForSignIn: false }));
  } catch (problem) {
    ask(WELCOME, problem.reason === "TICKET_INVALID" ? "This link was used before or is too old. Get a fresh one." : problem.message);
  }
  return true;
}

/** Resolves once somebody is signed in; shows the card until then. */
function askToSignIn() {
  if (!asking) {
    asking = Promise.withResolvers();
    ask(EXPIRED);
  }
  return asking.promise;
}

function ask(why, problem = "") {
  document.getElementById("sign-in-why").textContent = why;
  error.textContent = problem;
  if (!card.open) card.showModal();
}

async function submit(event) {
  event.preventDefault();
  const pasted = token.value.trim();
  if (!pasted) return;
  const ticket = ticketIn(pasted);
  button.disabled = true;
  error.textContent = "";
  try {
    become(await call("POST", "/session", { body: ticket === null ? { token: pasted } : { ticket }, waitForSignIn: false }));
    token.value = "";
  } catch (problem) {
    error.textContent = problem.message;
    token.select();
  } finally {
    button.disabled = false;
  }
}

function become(described) {
  current = described;
  document.getElementById("account-button").textContent = shown([...current.subject][0].toUpperCase());
  document.querySelector(".account-name").textContent = shown(current.subject);
  const until = new Date(current.expires_at).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
  document.querySelector(".account-facts").textContent = `${current.operator ? "Operator. " : ""}Signed in until ${until}`;
  if (card.open) card.close();
  // An open event stream outlives the session; who only looks on should be told, too.
  clearTimeout(ending);
  const left = new Date(current.expires_at) - Date.now() + LEEWAY_MS;
  ending = setTimeout(() => call("GET", "/session"), Math.min(left, LONGEST_TIMER_MS));
  listeners.changed(current);
  asking?.resolve();
  asking = null;
}

async function signOut() {
  try {
    await call("DELETE", "/session", { waitForSignIn: false });
  } catch (problem) {
    // Without a session there is nothing to end.
    if (!(problem instanceof Problem) || problem.status !== 401) throw problem;
  }
  listeners.ended();
}
