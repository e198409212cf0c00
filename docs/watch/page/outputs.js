// The potentials of the output neurons: divided by the steps, now (bars), and as they rise (lines).

import { cleared, colours, markDecision, middleOf } from "./canvas.js";
import { largest } from "./decision.js";

const HEIGHT = 170;
const FONT = "12px system-ui, sans-serif";
const BELOW = 18; // for the labels

/** The classes with the largest and the second largest output. */
function firstTwo(outputs) {
  const first = largest(outputs);
  return [first, largest(outputs.map((v, i) => (i === first ? -Infinity : v)))];
}

function colourOf(i, [first, second], palette) {
  return i === first ? palette.spike : i === second ? palette.second : palette.other;
}

/** V[t] / t of each class, and how far the second must stay below the first. */
export class Bars {
  constructor(canvas, classes) {
    Object.assign(this, { canvas, classes });
  }

  draw(run, margin) {
    const palette = colours();
    const [context, width, height] = cleared(this.canvas, HEIGHT, 158);
    const outputs = run.guess ?? run.history.at(-1)?.outputs ?? new Float32Array(this.classes);
    const two = firstTwo(outputs);
    const seen = margin === null ? run.history.flatMap((of) => [...of.outputs]) : outputs;
    const [low, high] = [Math.min(-0.25, ...seen), Math.max(1.1, ...seen)];
    const y = (value) => (1 - (value - low) / (high - low)) * (height - BELOW);
    const column = width / this.classes;
    context.font = FONT;
    context.textAlign = "center";
    outputs.forEach((value, i) => {
      const isFirst = run.steps > 0 && i === two[0];
      context.fillStyle = run.steps ? colourOf(i, two, palette) : palette.other;
      context.fillRect(i * column + 2, Math.min(y(0), y(value)), column - 4, Math.max(Math.abs(y(value) - y(0)), 1));
      context.fillStyle = isFirst ? palette.spike : palette.muted;
      context.font = isFirst ? `bold ${FONT}` : FONT;
      context.fillText(i, (i + 0.5) * column, height - 4);
    });
    context.fillStyle = palette.muted;
    context.fillRect(0, y(0), width, 1);
    if (run.steps && margin !== null) {
      context.strokeStyle = palette.ink;
      context.setLineDash([4, 3]);
      context.beginPath();
      context.moveTo(0, y(outputs[two[0]] - margin));
      context.lineTo(width, y(outputs[two[0]] - margin));
      context.stroke();
    }
  }
}

/** V[t] of each class over time: all steps, or the last ones of a stream with `rate` steps a second. */
export class Lines {
  constructor(canvas, steps, rate = null) {
    Object.assign(this, { canvas, steps, rate });
  }

  draw(run, decision) {
    const palette = colours();
    const [context, width, height] = cleared(this.canvas, HEIGHT);
    const history = run.history.map((of) => of.potentials);
    const all = history.flatMap((potentials) => [...potentials]);
    const scale = this.rate ? 1 : this.steps;
    const room = this.rate ? 1.06 : 1;
    const [low, high] = [room * Math.min(-0.2 * scale, ...all), room * Math.max(1.15 * scale, ...all)];
    const before = run.steps - history.length;
    const y = (value) => (1 - (value - low) / (high - low)) * (height - BELOW);
    const x = (step) => middleOf(step, this.steps, width);
    context.fillStyle = palette.faint;
    context.fillRect(0, 0, width, height - BELOW);
    context.fillStyle = palette.line;
    context.fillRect(0, y(0), width, 1);
    context.font = FONT;
    context.textAlign = "center";
    context.fillStyle = palette.muted;
    const every = this.rate ? this.rate / 2 : 5;
    for (let step = every; step <= before + this.steps; step += every) {
      const text = this.rate ? `${step / this.rate} s` : step;
      if (step > before) context.fillText(text, Math.min(x(step - before), width - (this.rate ? 14 : 8)), height - 4);
    }
    context.textAlign = "left";
    if (width > 300 && !this.rate) context.fillText("step", 0, height - 4);
    if (!history.length) return;
    const two = firstTwo(run.guess ?? history.at(-1));
    const order = [...history.at(-1).keys()].sort((a, b) => two.indexOf(a) - two.indexOf(b));
    for (const i of order.filter((i) => !two.includes(i)).concat([two[1], two[0]])) {
      context.strokeStyle = colourOf(i, two, palette);
      context.lineWidth = two.includes(i) ? 2.5 : 1;
      context.lineJoin = "round";
      context.beginPath();
      if (!before) context.moveTo(0, y(0));
      history.forEach((potentials, t) => context.lineTo(x(t + 1), y(potentials[i])));
      context.stroke();
    }
    context.font = `bold ${FONT}`;
    const inside = x(history.length) < width - 20; // else the names of the lines stand above their ends
    context.textAlign = inside ? "left" : "right";
    const heights = two.map((i) => y(history.at(-1)[i]));
    const apart = Math.max(0, 14 - (heights[1] - heights[0]));
    two.forEach((i, place) => {
      context.fillStyle = colourOf(i, two, palette);
      const below = heights[place] + place * apart + (inside ? 4 : -7);
      context.fillText(i, inside ? x(history.length) + 6 : width - 2, Math.max(below, 12));
    });
    if (decision) {
      context.font = FONT;
      context.fillStyle = palette.ink;
      const right = (decision * width) / this.steps < width - 70;
      context.textAlign = right ? "left" : "right";
      context.fillText("decision", (decision * width) / this.steps + (right ? 5 : -6), 14);
    }
    markDecision(context, decision, this.steps, width, height - BELOW, palette);
  }
}
