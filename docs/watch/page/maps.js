// The spikes of a whole layer in this step, as pictures: one for each map. What fired before fades.

import { cleared, colours } from "./canvas.js";

const WIDTH = 158;
const HEIGHT = 118;
const FADING = 0.5;

export class Maps {
  constructor(canvas, shape) {
    const [rows, columns, number] = shape.length > 1 ? shape : [1, 1, shape[0]];
    const gap = rows > 1 ? 1 : 0;
    const across = best(number, columns + gap, rows + gap);
    this.size = [across * (columns + gap) - gap, (number / across) * (rows + gap) - gap];
    const zoom = Math.max(1, Math.floor(Math.min(WIDTH / this.size[0], HEIGHT / this.size[1])));
    this.room = [this.size[1] * zoom, this.size[0] * zoom];
    this.colour = "spike";
    this.places = Array.from({ length: rows * columns * number }, (_, i) => {
      const [map, pixel] = [i % number, Math.floor(i / number)];
      const x = (map % across) * (columns + gap) + (pixel % columns);
      const y = Math.floor(map / across) * (rows + gap) + Math.floor(pixel / columns);
      return y * this.size[0] + x;
    });
    this.glow = new Float32Array(this.places.length);
    this.canvas = canvas;
    this.picture = Object.assign(document.createElement("canvas"), { width: this.size[0], height: this.size[1] });
  }

  reset() {
    this.glow.fill(0);
  }

  add(spikes) {
    this.glow.forEach((value, i) => (this.glow[i] = spikes[i] !== 0 ? 1 : FADING * value));
  }

  draw() {
    const palette = colours();
    const [context, width, height] = cleared(this.canvas, ...this.room);
    const small = this.picture.getContext("2d");
    context.imageSmoothingEnabled = false;
    for (const [values, colour] of [[() => 1, palette.faint], [(i) => this.glow[i], palette[this.colour]]]) {
      const pixels = new ImageData(...this.size);
      this.places.forEach((place, i) => (pixels.data[4 * place + 3] = 255 * values(i)));
      small.globalCompositeOperation = "source-over";
      small.putImageData(pixels, 0, 0);
      small.globalCompositeOperation = "source-in";
      small.fillStyle = colour;
      small.fillRect(0, 0, ...this.size);
      context.drawImage(this.picture, 0, 0, width, height);
    }
  }
}

/** How many maps to put in a row, so that the picture has about the shape of its place. */
function best(number, width, height) {
  const all = Array.from({ length: number }, (_, i) => i + 1).filter((across) => number % across === 0);
  const off = (across) => Math.abs(Math.log((across * width) / ((number / across) * height) / (WIDTH / HEIGHT)));
  return all.reduce((a, b) => (off(b) < off(a) ? b : a));
}
