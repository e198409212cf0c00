// log_mel of keras_spiking_bp.datasets: frames of sound, from a stream in chunks of any size.

export class LogMel {
  constructor(about) {
    Object.assign(this, about, { rest: [], size: 2 * (about.filters.length - 1) });
    const wave = (of) => Float64Array.from({ length: this.size }, (_, i) => of((2 * Math.PI * i) / this.size));
    Object.assign(this, { cos: wave(Math.cos), sin: wave(Math.sin) });
  }

  /** The frames that are whole with these samples, from -1 to 1. */
  push(samples) {
    this.rest.push(...samples);
    const frames = [];
    let start = 0;
    for (; start + this.window.length <= this.rest.length; start += this.hop) {
      frames.push(this.#frame(this.window.map((weight, i) => weight * this.rest[start + i])));
    }
    this.rest.splice(0, start);
    return frames;
  }

  #frame(samples) {
    const bands = new Float64Array(this.filters[0].length);
    this.filters.forEach((weights, bin) => {
      let [real, imaginary] = [0, 0];
      samples.forEach((value, i) => {
        real += value * this.cos[(bin * i) % this.size];
        imaginary += value * this.sin[(bin * i) % this.size];
      });
      weights.forEach((weight, band) => (bands[band] += weight * (real ** 2 + imaginary ** 2)));
    });
    return Float32Array.from(bands, (power) => Math.log1p(power / this.floor) / this.scale);
  }
}
