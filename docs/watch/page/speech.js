// The page of spoken digits: recordings or the microphone, one frame of sound after the other.

import { cleared, colours, redrawn } from "./canvas.js";
import { largest } from "./decision.js";
import { Layers } from "./layers.js";
import { LogMel } from "./log_mel.js";
import { microphone } from "./microphone.js";
import { at, begin, slider, tell } from "./shell.js";

const SPEEDS = [0.1, 0.2, 0.5, 1];
const SHOWN = 150; // frames in the pictures
const PAUSE = 25; // quiet frames that end a word
const SHORTEST = 10; // frames of a word; less is a click
const NO_WORD = { guess: null, guessed: 0, heard: 0, decided: false }; // potentials, their step, and that of the word
const number = new Intl.NumberFormat("en");

class Page {
  constructor(network) {
    this.about = { ...network.about, num_steps: SHOWN };
    this.network = network;
    this.layers = new Layers(at("layers"), this.about);
    slider("speed", SPEEDS, SPEEDS.length - 1, (speed) => (speed === 1 ? "as spoken" : `${1 / speed} x slower`));
    this.recordings = this.about.recordings.map(({ digit, speaker, samples }) => {
      const bytes = Uint8Array.from(atob(samples), (character) => character.charCodeAt(0));
      const name = speaker[0].toUpperCase() + speaker.slice(1);
      return { digit, name, samples: Float64Array.from(new Int16Array(bytes.buffer), (value) => value / 32768) };
    });
    for (const recording of this.recordings) this.#button(recording);
    at("listen").addEventListener("click", () => (this.endMicrophone ? this.reset() : this.listen()));
    this.reset();
  }

  /** Silence, from rest. `quiet(frame)` says for how many frames nothing has been said: 0 in a word. */
  reset(recording = null, quiet = () => Infinity) {
    this.endMicrophone?.();
    this.loudspeaker?.close();
    this.endMicrophone = this.loudspeaker = null;
    Object.assign(this, { recording, quiet, features: new LogMel(this.about.features), run: this.network.start() });
    Object.assign(this, { own: {}, history: [], steps: 0, spoken: false, ...NO_WORD });
    this.spikes = Object.fromEntries(this.about.layers.map(({ name }) => [name, 0]));
    this.counts = { word: { spikes: 0, frames: 0 }, silence: { spikes: 0, frames: 0 } };
    this.layers.reset();
    at("problem").hidden = true;
    this.show();
  }

  /** Some more samples. */
  hear(samples) {
    for (const frame of this.features.push(samples)) {
      const quiet = this.quiet(frame);
      const spoken = quiet < PAUSE;
      if (spoken && !this.spoken) Object.assign(this, { run: this.network.start(), ...NO_WORD });
      if (this.spoken && !spoken) Object.assign(this, this.heard < SHORTEST ? NO_WORD : { decided: true });
      this.spoken = spoken;
      const fired = this.run.step(frame);
      const { potentials } = this.run.history.pop();
      this.history.push({ potentials, outputs: potentials });
      if (this.history.length > SHOWN) this.history.shift();
      this.steps += 1;
      if (quiet === 0) Object.assign(this, { guess: potentials, guessed: this.steps, heard: this.run.steps });
      const count = this.counts[quiet === 0 ? "word" : "silence"];
      count.frames += 1;
      for (const name in this.spikes) {
        const spikes = fired[name].reduce((a, b) => a + b, 0);
        this.spikes[name] += spikes;
        count.spikes += spikes;
      }
      this.layers.add(fired);
    }
  }

  /** Plays a recording, and silence until the pictures are full; at once if `speed` is Infinity. */
  async play(recording, speed = SPEEDS[at("speed").value]) {
    const { rate, hop, window } = this.about.features;
    const frames = Math.floor((recording.samples.length - window.length) / hop) + 1;
    this.reset(recording, () => (this.steps < frames ? 0 : Infinity));
    const own = this.own; // a reset puts something else here
    const samples = new Float64Array(Math.max(SHOWN - 1, frames) * hop + window.length);
    samples.set(recording.samples);
    const begun = performance.now();
    for (let sent = 0; sent < samples.length && own === this.own; ) {
      const due = Math.min(samples.length, Math.floor((speed * rate * (performance.now() - begun + 1)) / 1000));
      this.hear(samples.slice(sent, due));
      sent = due;
      this.show();
      if (speed < Infinity) await new Promise(requestAnimationFrame);
    }
  }

  /** Lets a recording be heard, as slow as it is seen. */
  sound({ samples }) {
    if (!at("sound").checked) return;
    this.loudspeaker = new AudioContext();
    const buffer = this.loudspeaker.createBuffer(1, samples.length, this.about.features.rate);
    buffer.copyToChannel(Float32Array.from(samples), 0);
    const source = new AudioBufferSourceNode(this.loudspeaker, { buffer, playbackRate: SPEEDS[at("speed").value] });
    source.connect(this.loudspeaker.destination);
    source.start();
  }

  /** Listens to the microphone. A word begins well above the noise. */
  async listen() {
    let [noise, quiet] = [Infinity, Infinity];
    this.reset(null, ({ level }) => {
      noise = Math.min(level, noise + 0.01); // 1 is about 22 dB
      return (quiet = level > noise + 0.4 ? 0 : quiet + 1);
    });
    const own = this.own;
    try {
      const end = await microphone(this.about.features.rate, (samples) => own === this.own && this.hear(samples));
      if (own !== this.own) return end();
      this.endMicrophone = end;
    } catch (error) {
      if (own === this.own) tell("The microphone could not be used", error);
      return;
    }
    while (own === this.own) {
      this.show();
      await new Promise(requestAnimationFrame);
    }
  }

  show() {
    const { history, steps, guess, decided, spikes } = this;
    const decision = Math.max(decided ? this.guessed - (steps - history.length) : 0, 0);
    const rate = this.about.features.rate / this.about.features.hop;
    this.layers.show({ history, steps, spikes, guess }, decision, null);
    const { word, silence } = this.counts;
    const [digit, seconds] = [guess && largest(guess), `${(this.heard / rate).toFixed(2)} s`];
    let [headline, detail] = ["Nothing heard yet", "Choose a recording, or speak."];
    if (this.endMicrophone) [headline, detail] = ["Listening", "Say a digit, from 0 to 9."];
    if (guess !== null) [headline, detail] = ["Listening", `Its best guess after ${seconds}.`];
    if (decided) [headline, detail] = [`It is ${digit === 8 ? "an" : "a"} ${digit}`, `After ${seconds} of sound.`];
    if (decided && this.recording) detail += ` ${this.recording.name} said ${this.recording.digit}.`;
    at("digit").textContent = digit ?? "–";
    at("headline").textContent = headline;
    at("detail").textContent = detail;
    at("verdict").classList.toggle("certain", decided);
    if (at("announcement").textContent !== (decided ? headline : "")) at("announcement").textContent = decided ? headline : "";
    at("spikes").textContent = number.format(word.spikes + silence.spikes);
    const rates = [word, silence].map((of) => (of.frames ? (rate * of.spikes) / of.frames : 0));
    ["word", "silence"].forEach((name, i) => {
      at(name).textContent = this.counts[name].frames ? number.format(Math.round(rates[i])) : "–";
      at(`${name}-bar`).style.width = `${(100 * rates[i]) / Math.max(...rates, 1)}%`;
    });
    at("listen").textContent = this.endMicrophone ? "Stop" : "Use the microphone";
  }

  #button(recording) {
    const button = document.createElement("button");
    button.innerHTML = "<canvas></canvas><span></span>";
    button.lastChild.textContent = `${recording.digit} ${recording.name}`;
    button.addEventListener("click", () => {
      this.play(recording);
      this.sound(recording);
    });
    at("recordings").append(button);
    redrawn(button.firstChild, () => {
      const [context, width, height] = cleared(button.firstChild, 34);
      const loudest = Math.max(...recording.samples.map(Math.abs));
      context.fillStyle = colours().second;
      recording.samples.forEach((value, i) => {
        context.fillRect((i / recording.samples.length) * width, height / 2, 0.5, (-value / loudest) * (height / 2));
      });
    });
  }
}

/** For tests and for the console: frames and outputs of samples from -1 to 1, given in chunks. */
function hear(network, samples, size = samples.length) {
  const [features, run, frames] = [new LogMel(network.about.features), network.start(), []];
  for (let i = 0; i < samples.length; i += size) frames.push(...features.push(samples.slice(i, i + size)));
  for (const frame of frames) run.step(frame);
  return { frames: frames.map((frame) => [...frame]), outputs: run.history.map((of) => [...of.outputs]) };
}

begin("speech", async (network) => {
  const page = new Page(network);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  window.watch = { page, hear: (...of) => hear(network, ...of) };
  await page.play(page.recordings[0], still ? Infinity : 1);
});
