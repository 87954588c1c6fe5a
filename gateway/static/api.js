// Calls to the gateway. Every call here may be repeated without harm, so what fails in passing is tried again; a call that finds the session expired waits
// until somebody has signed in and goes on then.

import { delay, isPassing, pause } from "./backoff.js";

const TRIES = 6;
const SECONDS = 20;

let signIn = () => Promise.reject(new Error("nobody can sign in yet"));

/** What a 401 waits for: a function that resolves once somebody is signed in. */
export function onExpiredSession(askToSignIn) {
  signIn = askToSignIn;
}

/** Resolves once somebody is signed in again. For calls that are not made here: uploads and the event stream. */
export function signedInAgain() {
  return signIn();
}

/** A refusal, or no answer. `status`: HTTP status, 0 for none; `reason`: such as MATERIAL_NOT_FOUND, or null; `retryAfter`: seconds, or null. */
export class Problem extends Error {
  constructor(detail, { status = 0, reason = null, retryAfter = null } = {}) {
    super(detail);
    this.status = status;
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

/** The problem in an answer's body, whatever answered it. `body`: text; `retryAfter`: the header, or null. */
export function problemOf(status, body, retryAfter) {
  let told = {};
  try {
    told = JSON.parse(body) ?? {};
  } catch {
    // Something between browser and gateway answered.
  }
  const seconds = told.retry_after ?? (Number(retryAfter) || null);
  const detail = told.detail ? sentence(told) : `The server answered ${status}.`;
  return new Problem(detail, { status, reason: told.reason ?? null, retryAfter: seconds });
}

function sentence(told) {
  const fields = (told.errors ?? []).map((error) => `${error.field}: ${error.description}`).join("; ");
  const detail = fields && !told.detail.includes(fields) ? `${told.detail} (${fields})` : told.detail;
  return detail.charAt(0).toUpperCase() + detail.slice(1);
}

/** The words for no answer at all. */
export function unreachable() {
  return new Problem(navigator.onLine ? "The server cannot be reached." : "There is no network.");
}

/**
 * One call; returns the decoded JSON, or null for an empty answer. Throws Problem, or the reason of `signal` when that aborts.
 * `waitForSignIn`: whether a 401 waits for a new session; otherwise it is thrown like any problem.
 */
export async function call(method, path, { body, signal, waitForSignIn = true } = {}) {
  for (let tries = 1; ; tries += 1) {
    const problem = await attempt(method, path, body, signal);
    if (!(problem instanceof Problem)) return problem;
    if (problem.status === 401 && waitForSignIn && tries < TRIES) await signIn();
    else if (isPassing(problem.status) && tries < TRIES) await pause(delay(tries, problem.retryAfter), signal);
    else throw problem;
  }
}

async function attempt(method, path, body, signal) {
  const deadline = AbortSignal.timeout(SECONDS * 1000);
  const options = { method, signal: signal ? AbortSignal.any([signal, deadline]) : deadline, headers: { Accept: "application/json" } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  try {
    const answer = await fetch(path, options);
    if (!answer.ok) return problemOf(answer.status, await answer.text(), answer.headers.get("Retry-After"));
    return answer.status === 204 ? null : await answer.json();
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    return error instanceof Problem ? error : unreachable();
  }
}
