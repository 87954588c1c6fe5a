// The field above the materials, and what it does with a query: search as one types, or with Enter at once; or ask, with Enter. What is chosen stays chosen.

import { announce } from "./announcer.js";
import { call } from "./api.js";
import { cut, markWords, showParts } from "./highlight.js";
import { row } from "./rows.js";
import { count, shown } from "./words.js";

const LIMIT = 10;
const TYPING_MS = 400;
const SHORTEST_WHILE_TYPING = 3;
const PLACEHOLDERS = { search: "Search by meaning: a question, a phrase, a topic", ask: "Ask a question: the materials answer" };
const NAMES = { search: "Search the course by meaning", ask: "Ask the course a question" };
const part = (id) => document.getElementById(id);

export class SearchPanel {
  #course = "";
  #mode = "search";
  #timer = 0;
  #asked = "";
  #nextPage = "";
  #stopping = new AbortController();

  /** `answers`: the AnswerPanel; `opened(result)`: a result was chosen; `changed(query, mode)`: what is shown now, "" for nothing. */
  constructor({ answers, opened, changed }) {
    Object.assign(this, { answers, opened, changed });
    this.input = part("query");
    part("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run();
    });
    this.input.addEventListener("input", () => this.#typed());
    part("mode-search").addEventListener("click", () => this.#choose("search"));
    part("mode-ask").addEventListener("click", () => this.#choose("ask"));
    part("results-more").addEventListener("click", () => this.#showMore());
    for (const id of ["results-close", "answer-close"]) {
      part(id).addEventListener("click", () => {
        this.#close();
        this.input.focus();
      });
    }
  }

  /** Another course, with what is to be searched or asked there at once. `mode`: "search" or "ask". */
  start(course, query = "", mode = this.#mode) {
    this.#course = course;
    this.#close();
    this.#setMode(mode);
    this.input.value = query;
    if (query) this.#run();
  }

  /** Whether this installation answers questions. */
  offerAsking(isOffered) {
    part("modes").hidden = !isOffered;
    if (!isOffered) this.#setMode("search");
  }

  /** A material is gone: its results lead nowhere. */
  forget(materialId) {
    this.answers.forget(materialId);
    for (const element of part("result-list").querySelectorAll(`[data-material="${CSS.escape(materialId)}"]`)) element.remove();
  }

  #choose(mode) {
    this.#setMode(mode);
    if (this.input.value.trim()) this.#run();
    else this.input.focus();
  }

  #setMode(mode) {
    this.#mode = part("modes").hidden ? "search" : mode;
    for (const each of ["search", "ask"]) part(`mode-${each}`).setAttribute("aria-pressed", String(each === this.#mode));
    this.input.placeholder = PLACEHOLDERS[this.#mode];
    part("query-label").textContent = NAMES[this.#mode];
  }

  #typed() {
    clearTimeout(this.#timer);
    const query = this.input.value.trim();
    if (!query) this.#close();
    // An answer costs too much to be had for half a question.
    else if (this.#mode === "search" && query.length >= SHORTEST_WHILE_TYPING && query !== this.#asked) this.#timer = setTimeout(() => this.#search(), TYPING_MS);
  }

  #run() {
    if (this.#mode === "ask") this.#ask();
    else this.#search();
  }

  #ask() {
    const question = this.input.value.trim();
    if (!question) return;
    this.#leaveResults();
    part("materials").hidden = true;
    this.changed(question, "ask");
    this.answers.ask(this.#course, question);
  }

  async #search() {
    clearTimeout(this.#timer);
    const query = this.input.value.trim();
    if (!query) return;
    this.answers.close();
    this.#stopping.abort();
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    this.#asked = query;
    this.changed(query, "search");
    this.#showSearching();
    try {
      const found = await this.#page("", signal);
      if (!signal.aborted) this.#show(query, found);
    } catch (problem) {
      if (!signal.aborted) this.#showProblem(problem);
    }
  }

  #page(token, signal) {
    const path = `/courses/${encodeURIComponent(this.#course)}/search`;
    return call("POST", path, { body: { query: this.#asked, limit: LIMIT, page_token: token }, signal });
  }

  async #showMore() {
    const button = part("results-more");
    if (button.getAttribute("aria-disabled") === "true") return;
    const { signal } = this.#stopping;
    button.setAttribute("aria-disabled", "true");
    button.textContent = "Loading…";
    try {
      const { results, next_page_token: next } = await this.#page(this.#nextPage, signal);
      if (signal.aborted) return;
      const rows = results.map((result) => this.#resultRow(result, this.#asked));
      part("result-list").append(...rows);
      this.#offerMore(next);
      this.#showCount();
      // The button goes away after the last: the keyboard is where reading goes on.
      rows[0]?.querySelector(".result-open").focus();
    } catch (problem) {
      if (signal.aborted) return;
      this.#offerMore(this.#nextPage);
      announce(problem.message);
      button.textContent = `${problem.message} Try again`;
    }
  }

  #offerMore(token) {
    this.#nextPage = token;
    const button = part("results-more");
    button.hidden = !token;
    button.removeAttribute("aria-disabled");
    button.textContent = "Show more";
  }

  #showCount() {
    const number = part("result-list").childElementCount;
    const title = number ? `${count(number, "passage")}${this.#nextPage ? ", best first" : ""}` : "Nothing found";
    part("results-title").textContent = title;
    announce(title);
  }

  #close() {
    this.#leaveResults();
    this.answers.close();
    this.input.value = "";
    part("materials").hidden = false;
    this.changed("", this.#mode);
  }

  #leaveResults() {
    clearTimeout(this.#timer);
    this.#stopping.abort();
    this.#asked = "";
    part("results").hidden = true;
    part("result-list").replaceChildren();
    this.#offerMore("");
  }

  #showSearching() {
    part("results").hidden = false;
    part("materials").hidden = true;
    part("results").setAttribute("aria-busy", "true");
    part("results-title").textContent = "Searching…";
    const isFirst = part("result-list").childElementCount === 0;
    part("results-state").replaceChildren(...(isFirst ? [skeleton()] : []));
  }

  #show(query, { results, next_page_token: next }) {
    part("results").removeAttribute("aria-busy");
    part("result-list").replaceChildren(...results.map((result) => this.#resultRow(result, query)));
    this.#offerMore(next);
    this.#showCount();
    const words = "No passage comes near. Try other words, or wait until the materials have been read.";
    part("results-state").replaceChildren(...(results.length ? [] : [message(words)]));
  }

  #showProblem(problem) {
    part("results").removeAttribute("aria-busy");
    part("results-title").textContent = "The search did not work";
    part("result-list").replaceChildren();
    this.#offerMore("");
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
    const likeness = Math.max(0, Math.min(1, result.similarity));
    inside(".likeness-bar span").style.width = `${likeness * 100}%`;
    inside(".likeness-word").textContent = `${Math.round(likeness * 100)}% alike`;
    inside(".result-repeats").textContent = result.repeats ? `and ${result.repeats.toLocaleString("en")} more like this` : "";
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
