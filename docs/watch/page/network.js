// The network, from C compiled to WebAssembly, and what it spends.

/** A problem that can be said to anybody. */
export class Problem extends Error {}

async function loaded(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Problem(`The file ${url} could not be loaded (status ${response.status}).`);
  return response;
}

const product = (shape) => shape.reduce((a, b) => a * b, 1);

/** The network. `about` is its JSON file: names, shapes, synapses, costs; `code` what browser.c exports. */
export class Network {
  constructor(about, code) {
    Object.assign(this, { about, code });
    const { buffer } = code.memory;
    this.image = new Float32Array(buffer, code.image_at(), product(about.input.shape));
    this.input = new Float32Array(buffer, code.input_at(), product(about.input.shape));
    this.spikes = {}; // of this step, by the name of the layer
    about.layers.forEach(({ name, shape }, i) => (this.spikes[name] = new Int8Array(buffer, code.spikes_at(i), product(shape))));
  }

  /** Loads the network that `${name}.json` describes. */
  static async load(name) {
    if (typeof WebAssembly === "undefined") {
      throw new Problem("This browser has no WebAssembly, or it is switched off. The network needs it to run here.");
    }
    const [about, file] = await Promise.all(["json", "wasm"].map((kind) => loaded(`${name}.${kind}`)));
    const { instance } = await WebAssembly.instantiate(await file.arrayBuffer());
    return new Network(await about.json(), instance.exports);
  }

  /** A run from rest, which ends the one before. */
  start() {
    return new Run(this);
  }

  /** The energy, in pJ, of the same network as an ANN: one pass. */
  get energyOfAnn() {
    const { ann, costs } = this.about;
    return ann.accumulates * costs.accumulate + ann.macs * costs.mac;
  }
}

/** One run of the network over time. */
class Run {
  constructor(network) {
    this.network = network;
    network.code.reset();
    this.steps = 0;
    this.spikes = {}; // so far, by the name of the layer
    this.accumulates = 0; // so far
    this.history = []; // of each step: { outputs: V[t] / t, potentials: V[t], spikes and accumulates so far }
  }

  /** One time step with Poisson spikes of an image. */
  poissonStep(image, seed) {
    this.network.image.set(image);
    this.network.code.poisson(seed);
    return this.step(this.network.input);
  }

  /** One time step; returns the spikes of each layer, by name, that of the input included: valid until the next step. */
  step(input) {
    const { about, code } = this.network;
    this.network.input.set(input);
    code.step();
    const fired = { ...this.network.spikes, [about.input.name]: input };
    this.steps += 1;
    for (const name in fired) this.spikes[name] = (this.spikes[name] ?? 0) + sum(fired[name], () => 1);
    for (const { source, fan_out: fanOut } of about.connections) {
      this.accumulates += sum(fired[source], typeof fanOut === "number" ? () => fanOut : (i) => fanOut[i]);
    }
    const potentials = Float32Array.from({ length: about.readout.classes }, (_, i) => code.output(i));
    this.history.push({
      potentials,
      outputs: potentials.map((v) => v / this.steps),
      spikes: about.layers.reduce((total, { name }) => total + this.spikes[name], 0),
      energy: this.accumulates * about.costs.accumulate,
    });
    return fired;
  }
}

/** The sum of weight(i) over all i that fired. */
function sum(spikes, weight) {
  let total = 0;
  for (let i = 0; i < spikes.length; i++) if (spikes[i] !== 0) total += weight(i);
  return total;
}
