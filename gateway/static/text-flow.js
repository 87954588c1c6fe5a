// A page's text in paragraphs. What was read from a picture or a PDF breaks where the paper ended; a window breaks elsewhere.

const SHORTEST_FULL_LINE = 40;
const FULL = 0.72;
const LIST_ITEM = /^\s*([-*•–·#>|]|\d{1,3}[.)])/u;

/** The text with line breaks inside paragraphs turned into spaces: character for character, so that offsets hold. */
export function flowed(text) {
  const lines = text.split("\n");
  const longest = Math.max(...lines.map((line) => line.length));
  const isFull = (line) => line.length >= Math.max(SHORTEST_FULL_LINE, FULL * longest);
  return lines.reduce((flow, line, index) => {
    const goesOn = isFull(lines[index - 1]) && line.trim() && !LIST_ITEM.test(line) && !LIST_ITEM.test(lines[index - 1]);
    return flow + (goesOn ? " " : "\n") + line;
  });
}
