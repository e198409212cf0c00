// The spikes of some neurons of a layer over time: one dot is one spike.

import { cleared, colours, markDecision, middleOf } from "./canvas.js";

const ROWS = 200;
const HEIGHT = 104;

/** The neurons to show: all, or ROWS of them drawn at random; map by map. Layers have their channels last. */
function chosenNeurons(shape) {
  const number = shape.reduce((a, b) => a * b, 1);
  const maps = shape.length > 1 ? shape.at(-1) : 1;
  const all = Array.from({ length: number }, (_, i) => i);
  for (let i = 0; i < Math.min(ROWS, number); i++) {
    const j = i + Math.floor(Math.random() * (number - i));
    [all[i], all[j]] = [all[j], all[i]];
  }
  const place = (i) => (i % maps) * number + Math.floor(i / maps);
  return all.slice(0, ROWS).sort((a, b) => place(a) - place(b));
}

export class Raster {
  constructor(canvas, shape, steps, fades) {
    Object.assign(this, { canvas, steps, fades, neurons: chosenNeurons(shape), columns: [], decision: 0 });
  }

  reset() {
    this.columns = [];
    this.decision = 0;
  }

  /** One more step, with the spikes of the whole layer. */
  add(spikes) {
    this.columns.push(this.neurons.flatMap((neuron, row) => (spikes[neuron] !== 0 ? [row] : [])));
    if (this.columns.length > this.steps) this.columns.shift();
  }

  draw() {
    const palette = colours();
    const [context, width, height] = cleared(this.canvas, this.fades ? HEIGHT : 2 * HEIGHT);
    const column = width / this.steps;
    context.fillStyle = palette.faint;
    context.fillRect(0, 0, width, height);
    if (this.columns.length) {
      context.fillStyle = palette.line;
      context.fillRect((this.columns.length - 1) * column, 0, column, height);
    }
    const [w, h] = [Math.min(0.7 * column, 7), 2];
    this.columns.forEach((rows, t) => {
      context.globalAlpha = this.fades && this.decision && t + 1 > this.decision ? 0.4 : 1;
      context.fillStyle = palette.spike;
      const x = middleOf(t + 1, this.steps, width) - w / 2;
      for (const row of rows) context.fillRect(x, 1 + ((row + 0.5) / this.neurons.length) * (height - 2) - h / 2, w, h);
    });
    context.globalAlpha = 1;
    markDecision(context, this.decision, this.steps, width, height, palette);
  }
}
