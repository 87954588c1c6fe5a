// Sizes, times and names as people read them.

const UNITS = ["KB", "MB", "GB", "TB"];
const RELATIVE = new Intl.RelativeTimeFormat("en", { style: "short" });
const FULL_TIME = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });
const SPANS = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [7 * 86400, "day", 86400]];
const DAY = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });

// Control characters, line separators and those that turn the direction of what follows: a name must not dress up as another.
const DECEIVING = /[\p{Cc}\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** A user's text for one line, with characters that could deceive written out, such as `\u202e`. */
export function shown(text) {
  return text.replace(DECEIVING, (character) => `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`);
}

/** Bytes: `512 bytes`, `1.3 MB`. */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
  let value = bytes;
  let unit = -1;
  do {
    value /= 1024;
    unit += 1;
  } while (value >= 999.5 && unit < UNITS.length - 1);
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** `1 page`, `12 pages`. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** A moment from now: `just now`, `5 min ago`, `in 3 min`; a date when it is more than a week away. */
export function when(moment, now = Date.now()) {
  const seconds = (new Date(moment).getTime() - now) / 1000;
  if (Math.abs(seconds) < 10) return "just now";
  for (const [limit, unit, length] of SPANS) {
    if (Math.abs(seconds) < limit) return RELATIVE.format(Math.trunc(seconds / length), unit).replace(".", "");
  }
  return DAY.format(new Date(moment));
}

/** A moment to the minute, in the reader's time zone. */
export function fullTime(moment) {
  return FULL_TIME.format(new Date(moment));
}
