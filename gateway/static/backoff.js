// When a call that failed is made again, and after how long. Values only: nothing here waits by itself but `pause`.

const FIRST_MS = 400;
const LONGEST_MS = 15_000;
const SPREAD_OF_RETRY_AFTER = 0.25;

/** Whether a try that ended with this HTTP status (0: no answer at all) is worth another. */
export function isPassing(status) {
  return [0, 408, 429, 502, 503, 504].includes(status);
}

/**
 * Milliseconds until the next try: a random part of a growing span, or what the server asked for and a little more.
 * `tries`: how many have failed, from 1; `retryAfter`: seconds, or null.
 */
export function delay(tries, retryAfter = null, random = Math.random) {
  if (retryAfter !== null) return retryAfter * 1000 * (1 + SPREAD_OF_RETRY_AFTER * random());
  const span = Math.min(LONGEST_MS, FIRST_MS * 2 ** (tries - 1));
  return span * (0.5 + 0.5 * random());
}

/** Resolves after `milliseconds`, or as soon as the browser is back online; rejects when `signal` aborts. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const ending = new AbortController();
    const end = (settle) => () => {
      clearTimeout(timer);
      ending.abort();
      settle();
    };
    const timer = setTimeout(end(resolve), milliseconds);
    addEventListener("online", end(resolve), { signal: ending.signal });
    signal?.addEventListener("abort", end(() => reject(signal.reason)), { signal: ending.signal });
    if (signal?.aborted) end(() => reject(signal.reason))();
  });
}
