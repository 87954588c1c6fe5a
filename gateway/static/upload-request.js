// One try to send one file, by XMLHttpRequest: fetch cannot say how much has been sent.

import { Problem, problemOf, unreachable } from "./api.js";

const STALLED_MS = 60_000;

/**
 * Sends a file to a course. Returns the material; throws Problem, or the reason of `signal` when that aborts.
 * `key`: the Idempotency-Key, the same in every try for one file; `onProgress(share)`: 0 to 1, of the bytes sent.
 */
export function sendFile(file, { course, key, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const cancel = () => {
      request.abort();
      reject(signal.reason);
    };
    let stalled = 0;
    const moving = () => {
      clearTimeout(stalled);
      stalled = setTimeout(() => {
        request.abort();
        reject(new Problem("The server takes no more bytes."));
      }, STALLED_MS);
    };

    request.open("POST", `/courses/${encodeURIComponent(course)}/materials`);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Idempotency-Key", key);
    request.upload.addEventListener("progress", (event) => {
      moving();
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener("error", () => reject(unreachable()));
    request.addEventListener("load", () => {
      const { status, responseText } = request;
      if (status === 201 || status === 200) resolve(JSON.parse(responseText));
      else reject(problemOf(status, responseText, request.getResponseHeader("Retry-After")));
    });
    request.addEventListener("loadend", () => {
      clearTimeout(stalled);
      signal.removeEventListener("abort", cancel);
    });
    signal.addEventListener("abort", cancel);

    const form = new FormData();
    form.append("name", file.name);
    form.append("file", file, file.name);
    moving();
    request.send(form);
  });
}
