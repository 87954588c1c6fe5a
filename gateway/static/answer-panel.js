// The answer to a question: it appears as it comes, each sentence with chips that open the passage it rests on.

import { announce } from "./announcer.js";
import { ask } from "./ask-call.js";
import { cut, markWords, showParts } from "./highlight.js";
import { row } from "./rows.js";
import { count, shown } from "./words.js";

const QUOTES = "extractive/";
const LAST_WORD = /\S{1,24}$/u;
const part = (id) => document.getElementById(id);

export class AnswerPanel {
  #course = "";
  #question = "";
  #sources = [];
  #cited = new Set();
  #stopping = new AbortController();

  /** `opened(source)`: a passage was chosen. */
  constructor({ opened }) {
    this.opened = opened;
    part("answer-again").addEventListener("click", () => {
      this.ask(this.#course, this.#question);
      // The button goes away, and would take the focus with it.
      part("answer-title").focus();
    });
    part("sources-more").addEventListener("click", () => {
      this.#showSources(this.#sources);
      part("sources-more").hidden = true;
      part("source-list").querySelector(".uncited .source-open")?.focus();
    });
  }

  /** Asks, and shows what comes until the end of it, or until something else is asked. */
  async ask(course, question) {
    this.close();
    [this.#course, this.#question] = [course, question];
    const { signal } = this.#stopping;
    this.#begin();
    try {
      for await (const { name, data } of ask(course, question, signal)) {
        if (signal.aborted) return;
        if (name === "sources") this.#showWait(data);
        else if (name === "part") this.#addPart(data);
        else if (name === "end") this.#showEnd(data);
      }
    } catch (problem) {
      if (!signal.aborted) this.#showProblem(problem);
    }
  }

  /** Ends what is under way and takes everything away. */
  close() {
    this.#stopping.abort();
    this.#stopping = new AbortController();
    this.#sources = [];
    this.#cited.clear();
    part("answer").hidden = true;
    part("answer-text").replaceChildren();
    part("source-list").replaceChildren();
  }

  /** A material is gone: its passages lead nowhere. */
  forget(materialId) {
    this.#sources = this.#sources.filter((source) => source.material_id !== materialId);
    for (const element of part("answer").querySelectorAll(`[data-material="${CSS.escape(materialId)}"]`)) element.remove();
  }

  #begin() {
    part("answer").hidden = false;
    part("answer").setAttribute("aria-busy", "true");
    part("answer-again").hidden = true;
    part("sources-title").hidden = true;
    part("sources-more").hidden = true;
    this.#say("Looking through the course…", "");
  }

  #showWait(sources) {
    this.#sources = sources;
    if (sources.length > 0) this.#say(`Reading ${count(sources.length, "passage")}…`, "");
  }

  #addPart({ text, citations }) {
    const words = text.trimEnd();
    const chips = citations.map((number) => this.#citation(number)).filter(Boolean);
    for (const number of citations) this.#cited.add(number);
    // The last word and its chips stay on one line.
    const last = words.search(LAST_WORD);
    const cited = document.createElement("span");
    cited.className = "cited";
    cited.append(last < 0 ? "" : words.slice(last), ...chips);
    part("answer-text").append(last < 0 ? words : words.slice(0, last), cited, text.slice(words.length));
    part("answer-title").textContent = "Answer";
    this.#showSources(this.#sources.filter((source) => this.#cited.has(source.number)));
  }

  #showEnd({ outcome, model, sentences_left_out: left }) {
    part("answer").removeAttribute("aria-busy");
    if (outcome === "nothing_found") {
      this.#say("Nothing found", "The materials of this course hold nothing on this question. Ask it in other words, or wait until they have all been read.");
    } else if (outcome === "unsupported") {
      this.#say("No answer that holds", "What the AI Brain wrote was not supported by the materials, so it is not shown. These passages came nearest.");
      this.#showSources(this.#sources);
    } else {
      const by = model.startsWith(QUOTES)
        ? "The sentences are quotes from the materials."
        : "Written by the AI Brain from the passages below. Check there what matters.";
      const less = left ? ` ${count(left, "sentence")} ${left === 1 ? "was" : "were"} left out: no passage supports ${left === 1 ? "it" : "them"}.` : "";
      this.#say("Answer", by + less);
      const others = this.#sources.filter((source) => !this.#cited.has(source.number));
      part("sources-more").hidden = others.length === 0;
      part("sources-more").textContent = `Show ${count(others.length, "other passage")} that ${others.length === 1 ? "was" : "were"} read`;
    }
    announce(part("answer-title").textContent);
  }

  #showProblem(problem) {
    part("answer").removeAttribute("aria-busy");
    const isAway = problem.reason === "BRAIN_UNAVAILABLE";
    const words = isAway ? "The AI Brain does not answer right now. The materials are all here, and can be read meanwhile." : problem.message;
    const title = part("answer-text").hasChildNodes() ? "The answer broke off" : isAway ? "The AI Brain is away" : "The question could not be answered";
    this.#say(title, words);
    part("answer-again").hidden = false;
    announce(`${title}. ${words}`);
  }

  #say(title, note) {
    part("answer-title").textContent = title;
    part("answer-note").textContent = note;
    part("answer-sheet").hidden = !note && !part("answer").hasAttribute("aria-busy");
  }

  #showSources(sources) {
    part("sources-title").hidden = sources.length === 0;
    const there = new Map([...part("source-list").children].map((element) => [element.dataset.number, element]));
    part("source-list").replaceChildren(...sources.map((source) => there.get(String(source.number)) ?? this.#sourceRow(source)));
    for (const element of part("source-list").children) element.classList.toggle("uncited", !this.#cited.has(Number(element.dataset.number)));
  }

  #sourceRow(source) {
    const element = row("source-row");
    const inside = (selector) => element.querySelector(selector);
    element.dataset.material = source.material_id;
    element.dataset.number = source.number;
    inside(".source-number").textContent = source.number;
    inside(".source-name").textContent = shown(source.material_name);
    inside(".source-page").textContent = `page ${source.page_number}`;
    inside(".source-open").setAttribute("aria-label", this.#nameOf(source));
    showParts(inside(".source-excerpt"), markWords(cut(source.excerpt, this.#question, source.heading, 220), this.#question));
    element.addEventListener("click", () => {
      if (getSelection().isCollapsed) this.opened(source);
    });
    return element;
  }

  #citation(number) {
    const source = this.#sources.find((each) => each.number === number);
    if (!source) return null;
    const chip = row("citation");
    chip.textContent = number;
    chip.dataset.material = source.material_id;
    chip.setAttribute("aria-label", this.#nameOf(source));
    chip.title = `${shown(source.material_name)}, page ${source.page_number}`;
    chip.addEventListener("click", () => this.opened(source));
    return chip;
  }

  #nameOf(source) {
    return `Source ${source.number}: ${shown(source.material_name)}, page ${source.page_number}`;
  }
}
