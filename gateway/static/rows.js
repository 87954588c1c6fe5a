// What the lists share: a row from its <template>, and drawing at most once a frame.

/** A new element from the <template> with this id. */
export function row(templateId) {
  return document.getElementById(templateId).content.firstElementChild.cloneNode(true);
}

/** Sets an element's text unless it is that already: a text set anew is read anew by a screen reader. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A function that asks for `draw` to be called in the next frame; asking again before changes nothing. */
export function oncePerFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}
