// The last frames of sound: a column for each, its bands from low (bottom) to high.

import { Maps } from "./maps.js";

export class Spectrogram extends Maps {
  constructor(canvas, bands, steps) {
    super(canvas, [bands, steps, 1]);
    Object.assign(this, { bands, steps, colour: "second", room: [120, steps > 1 ? null : 158] }); // null: as wide as there is room
    this.reset();
  }

  reset() {
    super.reset();
    this.frames = [];
  }

  add(frame) {
    this.frames.push(frame);
    if (this.frames.length > this.steps) this.frames.shift();
    this.glow.forEach((_, i) => {
      const value = this.frames[i % this.steps]?.[this.bands - 1 - Math.floor(i / this.steps)] ?? -Infinity;
      this.glow[i] = Math.min(Math.max(value, 0), 1)
    });
  }
}
