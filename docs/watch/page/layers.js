// The rows of the network: for the input and each layer its spikes now and over time, then the outputs.

import { redrawn } from "./canvas.js";
import { Maps } from "./maps.js";
import { Bars, Lines } from "./outputs.js";
import { Raster } from "./raster.js";
import { Spectrogram } from "./spectrogram.js";

const number = new Intl.NumberFormat("en");

/** A row of the table: texts, a picture of now and one over time; both are described for those who do not see them. */
function row(parent, title, what, size, now, over) {
  const element = document.createElement("div");
  element.className = "row";
  element.innerHTML = `
    <div class="about"><h2></h2><p class="small count"></p><p class="small what"></p><p class="small size"></p></div>
    <canvas class="now" role="img"></canvas><canvas class="over" role="img"></canvas>`;
  element.querySelector("h2").textContent = title;
  element.querySelector(".what").textContent = what;
  element.querySelector(".size").textContent = size;
  element.querySelector(".now").setAttribute("aria-label", now);
  element.querySelector(".over").setAttribute("aria-label", over);
  parent.append(element);
  return ["now", "over", "count"].map((name) => element.querySelector(`.${name}`));
}

export class Layers {
  constructor(parent, about) {
    this.about = about;
    const sound = about.features; // its frames are the input, as they are
    const input = { name: about.input.name, what: sound ? "log-mel, low to high" : "Poisson spikes", shape: about.input.shape };
    this.rows = [input, ...about.layers].map(({ name, what, shape }) => {
      const neurons = shape.reduce((a, b) => a * b, 1);
      const kind = name !== input.name ? "neurons" : sound ? "bands" : "pixels";
      const of = kind === "bands" ? "Sound" : `Spikes of ${name}`;
      const recurrent = about.connections.some(({ source, target }) => source === name && target === name);
      const size = `${number.format(neurons)} ${kind}`;
      const [now, over, count] = row(parent, name, recurrent ? `${what}, recurrent` : what, size, `${of} in this step`, `${of} over time`);
      if (kind !== "bands") return { name, count, maps: new Maps(now, shape), raster: new Raster(over, shape, about.num_steps, !sound) };
      count.remove();
      return { name, count, maps: new Spectrogram(now, neurons, 1), raster: new Spectrogram(over, neurons, about.num_steps) };
    });
    const { name, classes } = about.readout;
    const size = `${classes} neurons that never fire`;
    const [now, over, count] = row(parent, name, "dense", size, "Output of each class now", "Potentials of the outputs over time");
    count.remove();
    this.bars = new Bars(now, classes);
    this.lines = new Lines(over, about.num_steps, sound && sound.rate / sound.hop);
    redrawn(parent, () => this.shown && this.show(...this.shown));
  }

  reset() {
    for (const { maps, raster } of this.rows) {
      maps.reset();
      raster.reset();
    }
  }

  /** One more step, with the spikes of each layer by name. */
  add(fired) {
    for (const { name, maps, raster } of this.rows) {
      maps.add(fired[name]);
      raster.add(fired[name]);
    }
  }

  show(run, decision, margin) {
    this.shown = [run, decision, margin];
    for (const { name, count, maps, raster } of this.rows) {
      count.textContent = `${number.format(run.spikes[name] ?? 0)} spikes`;
      raster.decision = decision;
      maps.draw();
      raster.draw();
    }
    this.bars.draw(run, margin);
    this.lines.draw(run, decision);
  }
}
