// Files on their way to the server: a few at a time, the others wait their turn. A try that fails in passing (no network, a restart, too many at once) is made
// again under the same Idempotency-Key, so a file that had arrived after all does not arrive twice.

import { signedInAgain } from "./api.js";
import { delay, isPassing, pause } from "./backoff.js";
import { sendFile } from "./upload-request.js";

const AT_ONCE = 3;
const TRIES = 12;
// A server that says "not now, come back in n seconds" is well; it is asked for longer.
const POLITE_TRIES = 200;

/** A random UUID, also where the page came over plain HTTP and `crypto.randomUUID` is missing. */
function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** One file. `state`: "queued", "sending", "waiting" (for the next try), "failed"; `sent`: share of the bytes, 0 to 1; `problem`: of the last try. */
export class Upload {
  constructor(file, course) {
    this.file = file;
    this.course = course;
    this.key = uuid();
    this.state = "queued";
    this.sent = 0;
    this.problem = null;
    this.stopping = new AbortController();
  }
}

export class UploadQueue {
  #uploads = new Set();
  #running = 0;

  /** `changed(upload)`: any change, once it is in or out of `all()`; `finished(material, upload)`; `failed(upload)`. */
  constructor({ changed, finished, failed }) {
    Object.assign(this, { changed, finished, failed });
  }

  /** In the order in which they came; what has arrived or was cancelled is not among them. */
  all() {
    return [...this.#uploads];
  }

  /** Whether anything would be lost by closing the page. */
  isBusy() {
    return this.all().some((upload) => upload.state !== "failed");
  }

  add(files, course) {
    for (const file of files) {
      const upload = new Upload(file, course);
      this.#uploads.add(upload);
      this.changed(upload);
    }
    this.#startNext();
  }

  /** Stops it, or takes a failed one off the list. */
  cancel(upload) {
    this.#uploads.delete(upload);
    upload.stopping.abort();
    this.changed(upload);
  }

  /** Puts a failed one back into the queue. */
  retry(upload) {
    this.#set(upload, { state: "queued", sent: 0, problem: null });
    this.#startNext();
  }

  #set(upload, changes) {
    Object.assign(upload, changes);
    this.changed(upload);
  }

  #startNext() {
    for (const upload of this.#uploads) {
      if (this.#running >= AT_ONCE) return;
      if (upload.state === "queued") this.#run(upload);
    }
  }

  async #run(upload) {
    this.#running += 1;
    this.#set(upload, { state: "sending" });
    try {
      const material = await this.#send(upload);
      this.#uploads.delete(upload);
      this.finished(material, upload);
      this.changed(upload);
    } catch (problem) {
      if (!upload.stopping.signal.aborted) {
        this.#set(upload, { state: "failed", problem });
        this.failed(upload);
      }
    } finally {
      this.#running -= 1;
      this.#startNext();
    }
  }

  async #send(upload) {
    const { file, course, key } = upload;
    const signal = upload.stopping.signal;
    const onProgress = (sent) => this.#set(upload, { sent });
    for (let tries = 1; ; tries += 1) {
      try {
        return await sendFile(file, { course, key, signal, onProgress });
      } catch (problem) {
        const limit = problem.retryAfter === null ? TRIES : POLITE_TRIES;
        if (signal.aborted || tries >= limit || !(isPassing(problem.status) || problem.status === 401)) throw problem;
        this.#set(upload, { state: "waiting", problem });
        if (problem.status === 401) await signedInAgain();
        else await pause(delay(tries, problem.retryAfter), signal);
        this.#set(upload, { state: "sending", sent: 0 });
      }
    }
  }
}
