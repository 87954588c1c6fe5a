// A material's text, page by page, with the passage that was searched for; and its history.

import * as address from "./address.js";
import { announce } from "./announcer.js";
import { call } from "./api.js";
import { markRange, showParts } from "./highlight.js";
import { pagesText, sizeText } from "./material-row.js";
import { describe } from "./material-state.js";
import { showHistory } from "./material-history.js";
import { setText } from "./rows.js";
import { flowed } from "./text-flow.js";
import { fullTime, shown } from "./words.js";

const SOURCES = { brain: "Read by the AI Brain", file: "Text of the file itself" };
const dialog = document.getElementById("reader");
const part = (id) => document.getElementById(id);

export class Reader {
  #material = null;
  #page = 1;
  #passage = null;
  #texts = new Map();
  #stopping = new AbortController();

  constructor() {
    part("reader-close").addEventListener("click", () => dialog.close());
    part("page-before").addEventListener("click", () => this.#turn(-1));
    part("page-after").addEventListener("click", () => this.#turn(1));
    part("tab-text").addEventListener("click", () => this.#showTab("text"));
    part("tab-history").addEventListener("click", () => this.#showTab("history"));
    dialog.addEventListener("keydown", (event) => this.#onKey(event));
    dialog.addEventListener("close", () => this.#closed());
    // A click beside the panel is a click on the dialog itself.
    dialog.addEventListener("mousedown", (event) => {
      if (event.target === dialog && event.offsetX < 0) dialog.close();
    });
  }

  /** The material that is open, or null. */
  get materialId() {
    return this.#material?.id ?? null;
  }

  /**
   * Opens a material at a page. `material` may be only `{id, name}`: the rest is fetched. `passage`: `{start_offset, end_offset, heading}` on that page, or null.
   * `step`: whether "back" closes it.
   */
  open(material, { page = 1, passage = null, step = true } = {}) {
    this.#texts.clear();
    this.#material = material;
    this.#page = page;
    this.#passage = passage && { ...passage, page };
    this.#showTab("text");
    this.#showFacts();
    if (!dialog.open) {
      address.write({ material: material.id, page: String(page) }, { step });
      dialog.showModal();
      part("reader-title").focus();
    }
    if (material.revision === undefined) this.#fetchMaterial(material.id);
    this.#showPage();
  }

  close() {
    dialog.close();
  }

  /** The open material changed: more pages may be there. */
  update(material) {
    const waited = this.#texts.get(this.#page) === undefined;
    this.#material = material;
    this.#showFacts();
    if (!part("panel-history").hidden) showHistory(material.id, this.#stopping.signal);
    if (waited) this.#showPage();
    else this.#showPlace();
  }

  async #fetchMaterial(id) {
    try {
      const material = await call("GET", `/materials/${encodeURIComponent(id)}`);
      if (this.materialId === id) this.update(material);
    } catch (problem) {
      if (this.materialId === id) this.#showNote(problem.message);
    }
  }

  #closed() {
    this.#stopping.abort();
    this.#material = null;
    this.#texts.clear();
    part("sheet-text").replaceChildren();
    if (!address.stepBack()) address.write({ material: "", page: "" });
  }

  #showFacts() {
    const material = this.#material;
    part("reader-title").textContent = shown(material.name ?? "");
    part("reader-download").href = `/materials/${encodeURIComponent(material.id)}/content`;
    if (material.revision === undefined) return;
    const { word, note } = describe(material);
    const pages = material.processing_status === "processing" ? "" : pagesText(material);
    const facts = [word, note, pages, sizeText(material), fullTime(material.created_at)];
    setText(part("reader-facts"), facts.filter(Boolean).join(" · "));
  }

  #turn(pages) {
    const wanted = this.#page + pages;
    if (part("panel-text").hidden || wanted < 1 || wanted > this.#lastPage()) return;
    this.#page = wanted;
    address.write({ page: String(wanted) });
    this.#showPage();
  }

  #lastPage() {
    return Math.max(this.#page, this.#material?.pages_total ?? 0, 1);
  }

  #showPlace() {
    setText(part("page-place"), `Page ${this.#page} of ${this.#lastPage()}`);
    const [before, after] = [part("page-before"), part("page-after")];
    // Not `disabled`: a button with the focus would lose it on the last page.
    before.setAttribute("aria-disabled", String(this.#page <= 1));
    after.setAttribute("aria-disabled", String(this.#page >= this.#lastPage()));
  }

  async #showPage() {
    this.#stopping.abort();
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    this.#showPlace();
    const page = this.#page;
    part("panel-text").setAttribute("aria-busy", "true");
    try {
      const text = this.#texts.get(page) ?? (await this.#fetchPage(page, signal));
      if (!signal.aborted) this.#showText(text);
    } catch (problem) {
      if (!signal.aborted) this.#showNote(problem.message);
    } finally {
      if (!signal.aborted) part("panel-text").removeAttribute("aria-busy");
    }
  }

  async #fetchPage(page, signal) {
    const path = `/materials/${encodeURIComponent(this.#material.id)}/text?first_page=${page}&page_count=1`;
    const { pages } = await call("GET", path, { signal });
    const found = pages.find((each) => each.page_number === page);
    if (found) this.#texts.set(page, found);
    return found ?? null;
  }

  #showText(found) {
    if (!found) {
      this.#showNote(this.#material.processing_status === "failed" ? "This page was not read." : "This page has not been read yet. It appears here as soon as it is.");
      return;
    }
    const passage = this.#passage?.page === this.#page ? this.#passage : null;
    const text = flowed(found.text);
    const parts = passage ? markRange(text, passage.start_offset, passage.end_offset) : [{ text, isMarked: false }];
    part("panel-text").scrollTop = 0;
    part("sheet-text").classList.toggle("note", !found.text);
    showParts(part("sheet-text"), found.text ? parts : [{ text: "This page is blank.", isMarked: false }]);
    const heading = passage?.heading ?? "";
    setText(part("sheet-heading"), parts.find((each) => each.isMarked)?.text.startsWith(heading) ? "" : shown(heading));
    setText(part("sheet-source"), SOURCES[found.source] ?? "");
    part("sheet-text").querySelector("mark")?.scrollIntoView({ block: "center" });
    if (passage) announce("The passage found is marked");
  }

  #showNote(text) {
    part("sheet-text").classList.add("note");
    showParts(part("sheet-text"), [{ text, isMarked: false }]);
    setText(part("sheet-heading"), "");
    setText(part("sheet-source"), "");
  }

  #showTab(name) {
    for (const each of ["text", "history"]) {
      const isChosen = each === name;
      part(`tab-${each}`).setAttribute("aria-selected", String(isChosen));
      part(`tab-${each}`).tabIndex = isChosen ? 0 : -1;
      part(`panel-${each}`).hidden = !isChosen;
    }
    part("page-turner").hidden = name !== "text";
    if (name === "history") showHistory(this.#material.id, this.#stopping.signal);
  }

  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    if (event.target.role !== "tab") {
      this.#turn(event.key === "ArrowRight" ? 1 : -1);
      return;
    }
    const other = event.target.id === "tab-text" ? "history" : "text";
    this.#showTab(other);
    part(`tab-${other}`).focus();
  }
}
