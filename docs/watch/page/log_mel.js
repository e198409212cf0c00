// LogMel of keras_spiking_bp.datasets: frames of sound, from a stream in chunks of any size.

export class LogMel {
  constructor(about) {
    Object.assign(this, about, { rest: [], background: about.filters[0].map(() => 0), size: 2 * (about.filters.length - 1) });
    const wave = (of) => Float64Array.from({ length: this.size }, (_, i) => of((2 * Math.PI * i) / this.size));
    Object.assign(this, { cos: wave(Math.cos), sin: wave(Math.sin) });
  }

  /** The frames that are whole with these samples, from -1 to 1; the `level` of a frame is its loudness. */
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
    const heard = bands.map((power) => Math.log1p(power / this.floor) / this.scale);
    this.background = this.background.map((mean, band) => mean + this.adaptation * (heard[band] - mean));
    const above = heard.map((value, band) => value - this.background[band]);
    const mean = (values) => values.reduce((a, b) => a + b) / values.length;
    const centre = mean(above);
    return Object.assign(Float32Array.from(above.map((value) => value - centre)), { level: mean(heard) });
  }
}
