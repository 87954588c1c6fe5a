// Which parts of a text are marked. Values only: arrays of `{text, isMarked}` in the order of the text.

const WORD = /[\p{L}\p{N}]+/gu;
const SHORTEST_STEM = 4;
const LONGEST_ENDING = 3;
// Too common to be worth a mark.
const COMMON = new Set(
  ("a an the and or of in on at to for from by with as is are was were be been do does did has have had can could will would should may "
    + "what which who whom whose when where why how that this these those it its i you we they he she not no about into than then there").split(" "),
);

const fold = (word) => word.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

/** The words of a query that are worth a mark, folded. */
function marks(query) {
  const words = [...query.matchAll(WORD)].map(([word]) => fold(word)).filter((word) => word.length > 1);
  const rare = words.filter((word) => !COMMON.has(word));
  return rare.length > 0 ? rare : words;
}

/** The same word, or the same but for its ending: `cell` and `cells`. */
function isAlike(one, other) {
  if (one === other) return true;
  const [short, long] = one.length < other.length ? [one, other] : [other, one];
  return short.length >= SHORTEST_STEM && long.startsWith(short) && long.length - short.length <= LONGEST_ENDING;
}

/** Marks a query's words. */
export function markWords(text, query) {
  const wanted = marks(query);
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(WORD)) {
    if (!wanted.some((word) => isAlike(word, fold(match[0])))) continue;
    parts.push({ text: text.slice(end, match.index), isMarked: false }, { text: match[0], isMarked: true });
    end = match.index + match[0].length;
  }
  return [...parts, { text: text.slice(end), isMarked: false }].filter((part) => part.text);
}

/** Marks what lies between two offsets in characters (code points: one emoji is one, though JavaScript counts two). */
export function markRange(text, start, end) {
  const characters = [...text];
  const piece = (from, to, isMarked) => ({ text: characters.slice(from, to).join(""), isMarked });
  return [piece(0, start, false), piece(start, end, true), piece(end, characters.length, false)].filter((part) => part.text);
}

/** The part of a passage around the query's first word, in one line of at most about `length` characters, without the heading it may begin with. */
export function cut(passage, query, heading = "", length = 340) {
  const line = passage.replace(/\s+/gu, " ").trim();
  const rest = heading && line.startsWith(heading) ? line.slice(heading.length).trim() : "";
  // What was taken for a heading may be the first half of a sentence.
  const text = /^[\p{Lu}\p{N}]/u.test(rest) ? rest : line;
  if (text.length <= length) return text;
  const first = markWords(text, query);
  const place = first[0].isMarked ? 0 : first.length > 1 ? first[0].text.length : 0;
  let start = place > length / 2 ? place - length / 3 : 0;
  let end = start + length;
  start = start > 0 ? text.indexOf(" ", start) + 1 : 0;
  end = end < text.length ? text.lastIndexOf(" ", end) : text.length;
  if (end <= start) end = start + length;
  return `${start > 0 ? "… " : ""}${text.slice(start, end)}${end < text.length ? " …" : ""}`;
}

/** Puts parts into an element, the marked ones as <mark>. */
export function showParts(element, parts) {
  element.replaceChildren(...parts.map(({ text, isMarked }) => {
    if (!isMarked) return document.createTextNode(text);
    const mark = document.createElement("mark");
    mark.textContent = text;
    return mark;
  }));
}
