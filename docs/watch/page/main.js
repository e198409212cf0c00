// Puts the page together: pad, network, decision, pictures, and the controls.

import { certainAfter, largest } from "./decision.js";
import { SIDE, imageOf, show } from "./digit.js";
import { Layers } from "./layers.js";
import { Pad } from "./pad.js";
import { Report } from "./report.js";
import { at, begin, slider } from "./shell.js";

const SPEEDS = [1, 2, 4, 8, 15, 30, 60]; // steps a second
const PATIENCE = 700; // milliseconds from the last stroke to the run
const FIRST = 5; // the digit that the page begins with

class Page {
  constructor(network) {
    this.network = network;
    this.about = network.about;
    this.margins = this.about.test_set.early_exit.map((row) => row.margin);
    this.layers = new Layers(at("layers"), this.about);
    this.report = new Report(network);
    this.pad = new Pad(at("pad"));
    this.image = null;
    this.playing = false;
    this.#connect();
    this.reset();
  }

  get margin() {
    return this.margins[at("margin").value];
  }

  get ended() {
    const stops = at("stop").checked && certainAfter(this.history, this.margin) > 0;
    return this.run.steps >= this.about.num_steps || stops;
  }

  get history() {
    return this.run.history.map((of) => of.outputs);
  }

  /** Back to the state before the first step, with the same digit. */
  reset() {
    this.pause();
    at("problem").hidden = true;
    this.run = this.network.start();
    this.seed = Number(at("seed").value);
    this.layers.reset();
    this.show();
  }

  /** One time step. */
  step() {
    if (!this.image || this.run.steps >= this.about.num_steps) return;
    this.layers.add(this.run.poissonStep(this.image, this.seed));
    this.show();
  }

  async play() {
    clearTimeout(this.waiting);
    if (!this.image || this.playing) return;
    if (this.ended) this.reset();
    const own = (this.playing = {}); // another call of play, or pause, puts something else here
    this.show();
    while (this.playing === own && !this.ended) {
      const begun = performance.now();
      this.step();
      const rest = 1000 / SPEEDS[at("speed").value] - (performance.now() - begun);
      await new Promise((resolve) => setTimeout(resolve, Math.max(rest, 0)));
    }
    if (this.playing === own) this.pause();
  }

  pause() {
    clearTimeout(this.waiting);
    this.playing = false;
    if (this.run) this.show();
  }

  /** Takes another image and goes back to the start; it runs after `patience` milliseconds. */
  see(image, patience = null) {
    this.image = image;
    this.reset();
    if (image && patience !== null) this.waiting = setTimeout(() => this.play(), patience);
  }

  show() {
    const decision = certainAfter(this.history, this.margin);
    this.layers.show(this.run, decision, this.margin);
    this.report.show(this.run, decision, { image: this.image, ended: this.ended, largest: largest(this.history.at(-1) ?? []) });
    at("hint").hidden = this.pad.strokes.length > 0;
    at("hint").textContent = this.pad.image ? "Draw your own here" : "Draw a digit here";
    at("run").textContent = this.playing ? "Pause" : this.run.steps && !this.ended ? "Go on" : this.ended && this.image ? "Again" : "Run";
    at("run").disabled = !this.image;
    at("step").disabled = !this.image || this.run.steps >= this.about.num_steps;
    at("reset").disabled = this.run.steps === 0;
    at("clear").disabled = !this.pad.strokes.length && !this.pad.image;
  }

  #connect() {
    this.pad.addEventListener("draw", () => {
      clearTimeout(this.waiting);
      if (this.image) this.see(null); // what was drawn so far; seen anew when the pen is lifted
    });
    this.pad.addEventListener("rest", () => this.see(imageOf(this.pad.strokes), PATIENCE));
    this.pad.addEventListener("empty", () => this.see(null));
    this.pad.addEventListener("go", () => this.play());
    at("run").addEventListener("click", () => (this.playing ? this.pause() : this.play()));
    at("step").addEventListener("click", () => {
      this.pause();
      this.step();
    });
    at("reset").addEventListener("click", () => this.reset());
    at("clear").addEventListener("click", () => this.pad.clear());
    at("seed").addEventListener("change", () => this.reset());
    at("stop").addEventListener("change", () => this.show());
    slider("speed", SPEEDS, 2, (speed) => (speed === 1 ? "1 step / s" : `${speed} steps / s`));
    slider("margin", this.margins, this.margins.indexOf(0.8), (margin) => margin.toFixed(1), (margin) => {
      this.report.tellMargin(margin);
      if (this.run) this.show();
    });
    for (const { label, pixels } of this.about.test_set.digits) {
      const image = Float32Array.from(atob(pixels), (character) => character.charCodeAt(0) / 255);
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.setAttribute("aria-label", `Digit ${label} of the test set`);
      const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
      show(canvas, image);
      button.append(canvas);
      button.addEventListener("click", () => this.choose(image));
      at("samples").append(button);
    }
  }

  /** Shows one of the digits of the test set, and runs it. */
  choose(image) {
    this.pad.choose(image);
    this.see(image, 0);
  }
}

/** For tests and for the console: the run of an image of 784 numbers. */
function runImage(network, image, seed) {
  const [run, input] = [network.start(), network.about.input.name];
  const inputs = Array.from({ length: network.about.num_steps }, () => [...run.poissonStep(image, seed)[input]]);
  return { inputs, outputs: run.history.map((of) => [...of.outputs]), spikes: run.spikes, accumulates: run.accumulates };
}

begin("network", (network) => {
  at("settings").open = matchMedia("(min-width: 641px)").matches;
  const page = new Page(network);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) at("samples").children[FIRST].click();
  window.watch = { page, run: (...of) => runImage(network, ...of) };
});
