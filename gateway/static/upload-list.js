// The files on their way, each with its progress.

import { oncePerFrame, row, setText } from "./rows.js";
import { count, shown, size } from "./words.js";

const section = document.getElementById("uploads");
const title = document.getElementById("uploads-title");
const list = document.getElementById("upload-list");
const cancelAll = document.getElementById("uploads-cancel");
const clearFailed = document.getElementById("uploads-clear");

/** Shows a queue; `draw(upload)` asks for one upload to be drawn anew. */
export class UploadList {
  #rows = new Map();
  #due = new Set();
  #draw = oncePerFrame(() => this.#drawDue());

  constructor(queue) {
    this.queue = queue;
    cancelAll.addEventListener("click", () => queue.all().filter((upload) => upload.state !== "failed").forEach((upload) => queue.cancel(upload)));
    clearFailed.addEventListener("click", () => queue.all().filter((upload) => upload.state === "failed").forEach((upload) => queue.cancel(upload)));
  }

  draw(upload) {
    this.#due.add(upload);
    this.#draw();
  }

  #drawDue() {
    const all = this.queue.all();
    const present = new Set(all);
    for (const upload of this.#due) {
      if (present.has(upload)) this.#drawRow(upload);
      else this.#remove(upload);
    }
    this.#due.clear();
    this.#drawHead(all);
  }

  #drawHead(all) {
    const failed = all.filter((upload) => upload.state === "failed").length;
    const going = all.length - failed;
    section.hidden = all.length === 0;
    title.textContent = going ? `Uploading ${count(going, "file")}` : `${count(failed, "file")} could not be uploaded`;
    cancelAll.hidden = going < 2;
    clearFailed.hidden = failed < 2;
  }

  #remove(upload) {
    const element = this.#rows.get(upload);
    if (element?.contains(document.activeElement)) {
      const next = element.nextElementSibling ?? element.previousElementSibling;
      (next?.querySelector("button:not([hidden])") ?? document.getElementById("upload")).focus();
    }
    element?.remove();
    this.#rows.delete(upload);
  }

  #drawRow(upload) {
    let element = this.#rows.get(upload);
    if (!element) {
      element = this.#build(upload);
      this.#rows.set(upload, element);
      list.append(element);
    }
    element.dataset.state = upload.state;
    element.querySelector("progress").value = upload.sent;
    setText(element.querySelector(".upload-state"), stateText(upload));
    element.querySelector(".retry").hidden = upload.state !== "failed";
    element.querySelector("progress").hidden = upload.state === "failed" || upload.state === "queued";
    element.querySelector(".cancel").setAttribute("aria-label", `${upload.state === "failed" ? "Dismiss" : "Cancel the upload of"} ${shown(upload.file.name)}`);
  }

  #build(upload) {
    const element = row("upload-row");
    const name = shown(upload.file.name);
    element.querySelector(".upload-name").textContent = name;
    element.querySelector("progress").setAttribute("aria-label", `Upload of ${name}`);
    element.querySelector(".retry").setAttribute("aria-label", `Retry ${name}`);
    element.querySelector(".retry").addEventListener("click", () => this.queue.retry(upload));
    element.querySelector(".cancel").addEventListener("click", () => this.queue.cancel(upload));
    return element;
  }
}

function stateText({ state, sent, file, problem }) {
  switch (state) {
    case "queued": return `${size(file.size)}, waits its turn`;
    case "waiting": return `${problem.message.replace(/\.$/, "")}. Trying again…`;
    case "failed": return problem.message;
    default: return sent < 1 ? `${Math.floor(sent * 100)}% of ${size(file.size)}` : "Being checked and kept…";
  }
}
