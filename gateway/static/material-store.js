// The materials of the course as the page knows them. Changes come one by one, thousands of them with a snapshot, and are handed on once a frame.

import { oncePerFrame } from "./rows.js";

// Rows drawn for the first time cost most; more of them than this wait for the next frame.
const PER_FRAME = 300;

export class MaterialStore {
  #materials = new Map();
  // Ids are never used again: what is gone stays gone, whichever answer comes late.
  #gone = new Set();
  #seen = null;
  #changes = new Map();
  #hand = oncePerFrame(() => this.#handOn());

  /** Whether a snapshot was received to its end. */
  isComplete = false;

  /** `changed(changes)`: an array of `{id, before, after, isNews}`; `before` and `after` are null where there is none, `isNews` is false within a snapshot. */
  constructor(changed) {
    this.changed = changed;
  }

  get(id) {
    return this.#materials.get(id) ?? null;
  }

  all() {
    return [...this.#materials.values()];
  }

  /** Takes a material's state in, unless a newer one is known. */
  put(material) {
    const known = this.#materials.get(material.id);
    this.#seen?.add(material.id);
    if (this.#gone.has(material.id) || (known && known.revision >= material.revision)) return;
    this.#materials.set(material.id, material);
    this.#note(material.id, known ?? null);
  }

  remove(id) {
    const known = this.#materials.get(id);
    this.#gone.add(id);
    if (this.#materials.delete(id)) this.#note(id, known);
  }

  /** What is not put until `completeSnapshot` is gone. */
  beginSnapshot() {
    this.#seen = new Set();
  }

  completeSnapshot() {
    for (const id of this.#materials.keys()) {
      if (this.#seen && !this.#seen.has(id)) this.remove(id);
    }
    this.#seen = null;
    this.isComplete = true;
    this.#hand();
  }

  /** Forgets everything: another course. */
  clear() {
    for (const material of this.all()) this.remove(material.id);
    this.#gone.clear();
    this.#seen = null;
    this.isComplete = false;
    this.#hand();
  }

  #note(id, before) {
    const first = this.#changes.get(id);
    this.#changes.set(id, { id, before: first ? first.before : before, isNews: first ? first.isNews : this.isComplete });
    this.#hand();
  }

  #handOn() {
    const changes = [];
    for (const change of this.#changes.values()) {
      if (changes.length === PER_FRAME) break;
      this.#changes.delete(change.id);
      changes.push({ ...change, after: this.get(change.id) });
    }
    if (this.#changes.size > 0) this.#hand();
    this.changed(changes);
  }
}
