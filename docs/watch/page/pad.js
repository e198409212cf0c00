// The drawing pad: mouse, finger, pen, and keys.

import { show, trace } from "./digit.js";

const WIDTH = 0.075; // of a stroke, as a share of the pad
const MOVE = 1 / 28; // of the brush, by an arrow key
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Events of the canvas: "draw" when a stroke begins or goes on, "rest" when the pen is lifted, "empty" when the pad was
 * cleared, "go" for the enter key.
 */
export class Pad extends EventTarget {
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.strokes = [];
    this.image = null; // one that was chosen, in the place of strokes
    this.brush = [0.5, 0.5];
    this.penDown = false;
    this.pressed = new Set();
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.isPrimary) return;
      canvas.setPointerCapture(event.pointerId);
      this.#lower(this.#at(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.penDown || !event.isPrimary || !canvas.hasPointerCapture(event.pointerId)) return; // a key may lift it
      const events = event.getCoalescedEvents?.() ?? [];
      for (const part of events.length ? events : [event]) this.#moveTo(this.#at(part));
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => event.isPrimary && this.#lift());
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("keyup", (event) => this.pressed.delete(event.key));
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => {
      this.pressed.clear();
      this.#lift();
      this.draw();
    });
  }

  /** Shows an image (28 x 28, in [0, 1]) in the place of what was drawn. */
  choose(image) {
    this.#lift();
    this.strokes = [];
    this.image = image;
    this.draw();
  }

  clear() {
    this.choose(null);
    this.#tell("empty");
  }

  draw() {
    const { canvas } = this;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.image) show(canvas, this.image);
    const scaled = this.strokes.map((stroke) => stroke.map(([x, y]) => [x * canvas.width, y * canvas.height]));
    trace(context, scaled, WIDTH * canvas.width, "#f5f8fa");
    if (canvas.matches(":focus-visible")) {
      context.beginPath();
      context.arc(this.brush[0] * canvas.width, this.brush[1] * canvas.height, 0.7 * WIDTH * canvas.width, 0, 7);
      Object.assign(context, { lineWidth: 4, strokeStyle: "#ffa14a", fillStyle: this.penDown ? "#ffa14a" : "#ffa14a44" });
      context.fill();
      context.stroke();
    }
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in ARROWS) {
      this.pressed.add(event.key);
      const [x, y] = [...this.pressed].map((key) => ARROWS[key]).reduce(([a, b], [c, d]) => [a + c, b + d]);
      this.brush = [this.brush[0] + MOVE * x, this.brush[1] + MOVE * y].map((v) => Math.min(Math.max(v, 0), 1));
      if (this.penDown) this.#moveTo(this.brush);
    } else if (event.key === " ") {
      if (this.penDown) this.#lift();
      else if (!event.repeat) this.#lower(this.brush);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.clear();
    } else if (event.key === "Enter") {
      this.#lift();
      this.#tell("go");
    } else if (event.key === "Escape") {
      this.#lift();
    } else {
      return;
    }
    event.preventDefault();
    this.draw();
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #lower(point) {
    this.image = null;
    this.penDown = true;
    this.strokes.push([]);
    this.#moveTo(point);
  }

  #moveTo(point) {
    this.brush = point;
    this.strokes.at(-1).push(point);
    this.draw();
    this.#tell("draw");
  }

  #lift() {
    if (!this.penDown) return;
    this.penDown = false;
    this.draw();
    this.#tell("rest");
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }
}
