// The course, live: one EventSource at a time. When one ends, for whatever reason, another is opened where it was, by the last resume token. Why a server
// refused is asked for by fetch, as an EventSource does not tell.

import { problemOf, signedInAgain, unreachable } from "./api.js";
import { delay, isPassing, pause } from "./backoff.js";

// A stream that lived so long was a good one: the next pause is a short one again.
const STEADY_MS = 5_000;
// A browser keeps only six connections to a server; a tab that nobody sees gives its own back.
const HIDDEN_MS = 60_000;

export class CourseFeed {
  #stopping = new AbortController();
  #token = "";

  /** `state(name)`: "connecting", "live" or "reconnecting"; `refused(problem)`: there is no such stream, and no sense in asking again. */
  constructor(store, { state, refused }) {
    Object.assign(this, { store, state, refused });
  }

  open(course) {
    this.close();
    this.#stopping = new AbortController();
    this.#token = "";
    this.#run(course, this.#stopping.signal).catch((reason) => {
      if (reason?.name !== "AbortError") throw reason;
    });
  }

  close() {
    this.#stopping.abort();
  }

  async #run(course, signal) {
    this.state("connecting");
    for (let tries = 1; ; tries += 1) {
      await untilVisible(signal);
      const lived = await this.#follow(course, signal);
      if (lived > STEADY_MS) tries = 1;
      const problem = lived === 0 ? await whyRefused(this.#url(course), signal) : null;
      signal.throwIfAborted();
      if (problem?.reason === "RESUME_TOKEN_INVALID") {
        this.#token = "";
        continue;
      }
      if (problem?.status === 401) {
        await signedInAgain();
        continue;
      }
      if (problem && !isPassing(problem.status) && problem.status < 500) {
        this.refused(problem);
        return;
      }
      if (!document.hidden) this.state("reconnecting");
      await pause(delay(tries, problem?.retryAfter ?? null), signal);
    }
  }

  #url(course) {
    const query = this.#token ? `?${new URLSearchParams({ last_event_id: this.#token })}` : "";
    return `/courses/${encodeURIComponent(course)}/events${query}`;
  }

  /** Takes one stream in to its end; returns how many milliseconds it was open, 0 when it never was. */
  #follow(course, signal) {
    return new Promise((resolve) => {
      const source = new EventSource(this.#url(course));
      const ending = new AbortController();
      let openedAt = 0;
      let hiding = 0;
      const end = () => {
        clearTimeout(hiding);
        ending.abort();
        source.close();
        resolve(openedAt ? Math.max(1, performance.now() - openedAt) : 0);
      };
      const watchVisibility = () => {
        clearTimeout(hiding);
        if (document.hidden) hiding = setTimeout(end, HIDDEN_MS);
      };
      const take = (name, handle) =>
        source.addEventListener(name, (event) => {
          handle(JSON.parse(event.data));
          if (event.lastEventId) this.#token = event.lastEventId;
        });

      source.addEventListener("open", () => {
        openedAt = performance.now();
        if (!this.#token) this.store.beginSnapshot();
        this.state("live");
      });
      take("material", (material) => this.store.put(material));
      take("deleted", ({ id }) => this.store.remove(id));
      take("snapshot_complete", () => this.store.completeSnapshot());
      source.addEventListener("error", end);
      document.addEventListener("visibilitychange", watchVisibility, { signal: ending.signal });
      signal.addEventListener("abort", end, { signal: ending.signal });
      watchVisibility();
    });
  }
}

async function whyRefused(url, signal) {
  const looking = new AbortController();
  try {
    const answer = await fetch(url, { signal: AbortSignal.any([signal, looking.signal, AbortSignal.timeout(10_000)]) });
    return answer.ok ? null : problemOf(answer.status, await answer.text(), answer.headers.get("Retry-After"));
  } catch {
    return unreachable();
  } finally {
    looking.abort();
  }
}

function untilVisible(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve, reject) => {
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
