// The list: newest first, filtered by state and name. Rows are made once and changed in place; the style sheet lets the browser skip those out of sight.

import { MaterialRow } from "./material-row.js";
import { STATES } from "./material-state.js";
import { setText } from "./rows.js";

const MINUTE_MS = 60_000;
const part = (id) => document.getElementById(id);

export class MaterialList {
  #rows = new Map();
  #state = "";
  #words = "";
  #buttons = new Map();

  /** `actions`: those of MaterialRow, and `retryFailed()`; `canRetry()`: whether that one is offered. */
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    this.list = part("material-list");
    this.#buildStates();
    part("name-filter").addEventListener("input", (event) => {
      this.#words = event.target.value.trim().toLocaleLowerCase();
      this.#filter();
    });
    part("filter-clear").addEventListener("click", () => {
      this.clearFilter();
      this.#buttons.get("").focus();
    });
    part("retry-failed").addEventListener("click", () => actions.retryFailed());
    setInterval(() => this.#rows.forEach((row) => row.showTime()), MINUTE_MS);
  }

  /** Draws what the store handed on. */
  draw(changes) {
    let joined = false;
    for (const { id, after } of changes) {
      if (!after) this.#remove(id);
      else joined = this.#show(after) || joined;
    }
    if (joined) this.#sort();
    this.#filter();
  }

  /** Draws every row anew: somebody else may look at them now. */
  drawAll() {
    this.#rows.forEach((row) => row.show(row.material));
    this.#filter();
  }

  clearFilter() {
    this.#state = "";
    this.#words = "";
    part("name-filter").value = "";
    this.#filter();
  }

  #show(material) {
    let row = this.#rows.get(material.id);
    const isNew = !row;
    if (isNew) {
      row = new MaterialRow(this.actions);
      this.#rows.set(material.id, row);
    }
    const focused = row.element.contains(document.activeElement) ? document.activeElement : null;
    row.show(material);
    // A button that had the focus and is of no use any more leaves it to the row.
    if (focused?.hidden) row.parts.name.focus();
    return isNew;
  }

  #remove(id) {
    const element = this.#rows.get(id)?.element;
    this.#rows.delete(id);
    if (element?.contains(document.activeElement)) {
      const next = [element.nextElementSibling, element.previousElementSibling].find((each) => each && !each.hidden);
      (next?.querySelector(".material-name") ?? part("upload")).focus();
    }
    element?.remove();
  }

  #sort() {
    const rows = [...this.#rows.values()].sort(newestFirst);
    let place = this.list.firstElementChild;
    for (const { element } of rows) {
      if (element === place) place = place.nextElementSibling;
      else this.list.insertBefore(element, place);
    }
  }

  #filter() {
    const counts = { "": 0 };
    let visible = 0;
    let retryable = 0;
    for (const { element, material } of this.#rows.values()) {
      const matches = !this.#words || material.name.toLocaleLowerCase().includes(this.#words);
      const isShown = matches && (!this.#state || material.processing_status === this.#state);
      if (element.hidden === isShown) element.hidden = !isShown;
      counts[material.processing_status] = (counts[material.processing_status] ?? 0) + 1;
      counts[""] += 1;
      visible += isShown ? 1 : 0;
      retryable += material.retryable ? 1 : 0;
    }
    for (const [state, button] of this.#buttons) {
      button.setAttribute("aria-pressed", String(state === this.#state));
      setText(button.lastChild, (counts[state] ?? 0).toLocaleString("en"));
    }
    const isEmpty = counts[""] === 0;
    part("toolbar").hidden = isEmpty;
    part("no-match").hidden = isEmpty || visible > 0;
    part("empty").hidden = !(isEmpty && this.store.isComplete);
    part("skeleton").hidden = !isEmpty || this.store.isComplete;
    this.list.hidden = visible === 0;
    part("retry-failed").hidden = !(this.#state === "failed" && retryable > 1 && this.actions.canRetry());
  }

  #buildStates() {
    for (const [state, word] of [["", "All"], ...STATES]) {
      const button = document.createElement("button");
      button.type = "button";
      const number = document.createElement("span");
      number.className = "number";
      button.append(`${word} `, number);
      button.dataset.state = state;
      button.addEventListener("click", () => {
        this.#state = state;
        this.#filter();
      });
      this.#buttons.set(state, button);
      part("states").append(button);
    }
  }
}

function newestFirst(one, other) {
  const [a, b] = [one.material, other.material];
  if (a.created_at !== b.created_at) return a.created_at < b.created_at ? 1 : -1;
  return a.id < b.id ? 1 : -1;
}
