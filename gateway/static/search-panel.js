// Search by meaning: as one types, or with Enter at once.

import { announce } from "./announcer.js";
import { call } from "./api.js";
import { cut, markWords, showParts } from "./highlight.js";
import { row } from "./rows.js";
import { count, shown } from "./words.js";

const LIMIT = 10;
const TYPING_MS = 400;
const SHORTEST_WHILE_TYPING = 3;
const part = (id) => document.getElementById(id);

export class SearchPanel {
  #course = "";
  #timer = 0;
  #asked = "";
  #stopping = new AbortController();

  /** `opened(result)`: a result was chosen; `changed(query)`: what is shown now, "" for nothing. */
  constructor({ opened, changed }) {
    Object.assign(this, { opened, changed });
    this.input = part("query");
    part("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#search();
    });
    this.input.addEventListener("input", () => this.#typed());
    part("results-close").addEventListener("click", () => {
      this.#close();
      this.input.focus();
    });
  }

  /** Another course, with what is to be searched there at once. */
  start(course, query = "") {
    this.#course = course;
    this.#close();
    this.input.value = query;
    if (query) this.#search();
  }

  /** A material is gone: its results lead nowhere. */
  forget(materialId) {
    for (const element of part("result-list").querySelectorAll(`[data-material="${CSS.escape(materialId)}"]`)) element.remove();
  }

  #typed() {
    clearTimeout(this.#timer);
    const query = this.input.value.trim();
    if (!query) this.#close();
    else if (query.length >= SHORTEST_WHILE_TYPING && query !== this.#asked) this.#timer = setTimeout(() => this.#search(), TYPING_MS);
  }

  async #search() {
    clearTimeout(this.#timer);
    const query = this.input.value.trim();
    if (!query) return;
    this.#stopping.abort();
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    this.#asked = query;
    this.changed(query);
    this.#showSearching();
    try {
      const path = `/courses/${encodeURIComponent(this.#course)}/search`;
      const { results } = await call("POST", path, { body: { query, limit: LIMIT }, signal });
      if (!signal.aborted) this.#show(query, results);
    } catch (problem) {
      if (!signal.aborted) this.#showProblem(problem);
    }
  }

  #close() {
    clearTimeout(this.#timer);
    this.#stopping.abort();
    this.#asked = "";
    this.input.value = "";
    part("results").hidden = true;
    part("materials").hidden = false;
    part("result-list").replaceChildren();
    this.changed("");
  }

  #showSearching() {
    part("results").hidden = false;
    part("materials").hidden = true;
    part("results").setAttribute("aria-busy", "true");
    part("results-title").textContent = "Searching…";
    const isFirst = part("result-list").childElementCount === 0;
    part("results-state").replaceChildren(...(isFirst ? [skeleton()] : []));
  }

  #show(query, results) {
    part("results").removeAttribute("aria-busy");
    part("result-list").replaceChildren(...results.map((result) => this.#resultRow(result, query)));
    const title = results.length ? count(results.length, "passage") : "Nothing found";
    part("results-title").textContent = title;
    announce(title);
    const words = "No passage comes near. Try other words, or wait until the materials have been read.";
    part("results-state").replaceChildren(...(results.length ? [] : [message(words)]));
  }

  #showProblem(problem) {
    part("results").removeAttribute("aria-busy");
    part("results-title").textContent = "The search did not work";
    part("result-list").replaceChildren();
    const again = document.createElement("button");
    again.type = "button";
    again.className = "button";
    again.textContent = "Search again";
    again.addEventListener("click", () => this.#search());
    const told = message(problem.message);
    told.append(again);
    part("results-state").replaceChildren(told);
    announce(problem.message);
  }

  #resultRow(result, query) {
    const element = row("result-row");
    const inside = (selector) => element.querySelector(selector);
    element.dataset.material = result.material_id;
    inside(".result-name").textContent = shown(result.material_name);
    inside(".result-page").textContent = `page ${result.page_number}`;
    const excerpt = cut(result.excerpt, query, result.heading);
    inside(".result-heading").textContent = excerpt.startsWith(result.heading) ? "" : shown(result.heading);
    showParts(inside(".result-excerpt"), markWords(excerpt, query));
    const likeness = Math.max(0, Math.min(1, result.score));
    inside(".likeness-bar span").style.width = `${likeness * 100}%`;
    inside(".likeness-word").textContent = `${Math.round(likeness * 100)}% alike`;
    element.addEventListener("click", () => {
      if (getSelection().isCollapsed) this.opened(result);
    });
    return element;
  }
}

function message(text) {
  const element = document.createElement("div");
  element.className = "nothing";
  const words = document.createElement("p");
  words.textContent = text;
  element.append(words);
  return element;
}

function skeleton() {
  const element = document.createElement("div");
  element.className = "skeleton tall";
  element.setAttribute("aria-hidden", "true");
  element.append(...["", "", ""].map(() => document.createElement("span")));
  return element;
}
