// One material in the list.

import { mayChange, session } from "./session.js";
import { describe, hasEnded } from "./material-state.js";
import { row, setText } from "./rows.js";
import { count, fullTime, shown, size, when } from "./words.js";

const KINDS = { text: "TXT", markdown: "MD", jpeg: "JPG", tiff: "TIF" };

/** Facts about a material in a line: `1.3 MB`, `12 pages`. */
export const sizeText = (material) => size(material.file_size);
export const pagesText = (material) => (material.pages_total ? count(material.pages_total, "page") : "");

export class MaterialRow {
  /** `actions`: `open`, `retry`, `cancel`, `remove`, each a function of the material. */
  constructor(actions) {
    this.element = row("material-row");
    const part = (selector) => this.element.querySelector(selector);
    this.parts = {
      kind: part(".kind"), name: part(".material-name"), size: part(".material-size"), pages: part(".material-pages"), time: part("time"),
      owner: part(".material-owner"), error: part(".material-error"), use: part(".state use"), word: part(".state-word"), note: part(".state-note"),
      progress: part("progress"), retry: part(".retry"), cancel: part(".cancel"), remove: part(".delete"),
    };
    const { name, retry, cancel, remove } = this.parts;
    name.addEventListener("click", () => actions.open(this.material));
    retry.addEventListener("click", () => actions.retry(this.material));
    cancel.addEventListener("click", () => actions.cancel(this.material));
    remove.addEventListener("click", () => actions.remove(this.material));
    // All of the row opens the material, but for what does something else and for text that is being marked.
    this.element.addEventListener("click", (event) => {
      if (!event.target.closest("button") && getSelection().isCollapsed) actions.open(this.material);
    });
  }

  show(material) {
    const parts = this.parts;
    if (!this.material) this.#showWhatStays(material);
    this.material = material;
    const state = describe(material);
    this.element.dataset.tone = state.tone;
    parts.use.setAttribute("href", `#${state.icon}`);
    setText(parts.word, state.word);
    setText(parts.note, shown(state.note));
    parts.note.title = parts.note.textContent;
    setText(parts.pages, pagesText(material));
    setText(parts.error, material.failure_reason === "cancelled" ? "" : shown(material.error_message ?? ""));
    parts.progress.hidden = state.share === undefined;
    if (state.share === null) parts.progress.removeAttribute("value");
    else parts.progress.value = state.share ?? 0;
    const allowed = mayChange(material);
    parts.retry.hidden = !(allowed && material.retryable);
    parts.cancel.hidden = !allowed || hasEnded(material);
    parts.remove.hidden = !allowed;
    this.showTime();
  }

  /** The time from now, which grows while nothing changes. */
  showTime() {
    setText(this.parts.time, when(this.material.created_at));
  }

  #showWhatStays(material) {
    const parts = this.parts;
    const name = shown(material.name);
    this.element.dataset.id = material.id;
    this.element.dataset.kind = material.file_type;
    parts.kind.textContent = KINDS[material.file_type] ?? material.file_type.slice(0, 4).toUpperCase();
    parts.name.textContent = name;
    parts.name.title = name;
    parts.size.textContent = sizeText(material);
    parts.time.dateTime = material.created_at;
    parts.time.title = fullTime(material.created_at);
    parts.owner.textContent = material.owner_id === session()?.subject ? "" : shown(material.owner_id);
    parts.progress.setAttribute("aria-label", `Reading of ${name}`);
    parts.retry.setAttribute("aria-label", `Retry ${name}`);
    parts.cancel.setAttribute("aria-label", `Cancel ${name}`);
    parts.remove.setAttribute("aria-label", `Delete ${name}`);
    parts.remove.title = "Delete";
  }
}
