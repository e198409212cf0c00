// What all pictures of the page share: colours, sharp pixels, the axis of time.

/** The colours of the style sheet, as they are now (light or dark). */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "muted", "line", "faint", "card", "spike", "second", "other"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** A cleared context for a canvas of this height, as wide as its place (or `width`), in CSS pixels on any screen. */
export function cleared(canvas, height, width = null) {
  if (width !== null) canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const ratio = window.devicePixelRatio || 1;
  width ??= canvas.clientWidth;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return [context, width, height];
}

/** The middle of a step (1, 2, ...) on an axis of `steps` over `width`. */
export function middleOf(step, steps, width) {
  return ((step - 0.5) * width) / steps;
}

/** A vertical line behind the step of the decision. */
export function markDecision(context, step, steps, width, height, palette) {
  if (!step) return;
  const x = Math.round((step * width) / steps) - 0.5;
  context.fillStyle = palette.ink;
  context.fillRect(x, 0, 1.5, height);
}

/** Calls `draw` now, and whenever the place of the canvas or the colours change. */
export function redrawn(canvas, draw) {
  new ResizeObserver(draw).observe(canvas.parentElement);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
