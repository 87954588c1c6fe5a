// The course, chosen in the header: any id can be typed; those of the token and those seen before are suggested.

import { shown } from "./words.js";

const STORED = "courses";
const KEPT = 8;

const form = document.getElementById("course-picker");
const input = document.getElementById("course");
const list = document.getElementById("course-options");

/** Courses opened before, the last one first. */
export function recentCourses() {
  try {
    return JSON.parse(localStorage.getItem(STORED) ?? "[]").filter((each) => typeof each === "string");
  } catch {
    return [];
  }
}

export function rememberCourse(course) {
  localStorage.setItem(STORED, JSON.stringify([course, ...recentCourses().filter((each) => each !== course)].slice(0, KEPT)));
}

/** For the next person at this browser. */
export function forgetCourses() {
  localStorage.removeItem(STORED);
}

export class CoursePicker {
  #course = "";
  #active = -1;

  /** `known()`: the courses to suggest; `chosen(course)` is called with each choice. */
  constructor({ known, chosen }) {
    Object.assign(this, { known, chosen });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const option = list.children[this.#active];
      this.#choose(option ? option.dataset.course : input.value.trim());
    });
    input.addEventListener("focus", () => {
      input.select();
      this.#open("");
    });
    input.addEventListener("click", () => list.hidden && this.#open(""));
    input.addEventListener("input", () => this.#open(input.value.trim().toLowerCase()));
    input.addEventListener("blur", () => this.#reset());
    input.addEventListener("keydown", (event) => this.#onKey(event));
    // Before the field loses the focus.
    list.addEventListener("mousedown", (event) => {
      event.preventDefault();
      const option = event.target.closest("li");
      if (option) this.#choose(option.dataset.course);
    });
  }

  /** What is chosen now. */
  show(course) {
    this.#course = course;
    this.#reset();
  }

  focus() {
    input.focus();
  }

  #choose(course) {
    if (!course) return;
    this.#course = course;
    this.#reset();
    this.chosen(course);
  }

  #reset() {
    input.value = this.#course;
    this.#close();
  }

  #close() {
    list.hidden = true;
    this.#active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  #open(words) {
    const options = this.known().filter((course) => course.toLowerCase().includes(words)).map((course, index) => {
      const option = document.createElement("li");
      option.id = `course-option-${index}`;
      option.role = "option";
      option.dataset.course = course;
      option.textContent = shown(course);
      option.setAttribute("aria-selected", "false");
      if (course === this.#course) option.setAttribute("aria-current", "true");
      return option;
    });
    list.replaceChildren(...options);
    this.#active = -1;
    input.removeAttribute("aria-activedescendant");
    list.hidden = options.length === 0;
    input.setAttribute("aria-expanded", String(options.length > 0));
  }

  #onKey(event) {
    if (event.key === "Escape") this.#reset();
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    if (list.hidden) this.#open("");
    const options = [...list.children];
    if (options.length === 0) return;
    const start = event.key === "ArrowDown" ? this.#active + 1 : Math.max(this.#active, 0) - 1;
    this.#active = (start + options.length) % options.length;
    options.forEach((option, index) => option.setAttribute("aria-selected", String(index === this.#active)));
    options[this.#active].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", options[this.#active].id);
  }
}
