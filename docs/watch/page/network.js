// The exported step of the network, in onnxruntime-web (WebAssembly, one thread), and what it spends.

/** A problem that can be said to anybody. */
export class Problem extends Error {}

/** The bytes of a file; `progress(bytes so far)` is called on the way. */
async function bytesOf(url, progress) {
  const response = await fetch(url);
  if (!response.ok) throw new Problem(`The file ${url} could not be loaded (status ${response.status}).`);
  const parts = [];
  let size = 0;
  const reader = response.body.getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    parts.push(value);
    progress((size += value.length));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** The network. `about` is its JSON file: names, shapes, synapses, costs. */
export class Network {
  constructor(about, session, ort) {
    Object.assign(this, { about, session, ort });
  }

  /** Loads the network that `${name}.json` describes; `progress(bytes so far, bytes in all)` tells how far it is. */
  static async load(name, progress) {
    if (typeof WebAssembly === "undefined") {
      throw new Problem("This browser has no WebAssembly, or it is switched off. The network needs it to run here.");
    }
    const response = await fetch(`${name}.json`);
    if (!response.ok) throw new Problem(`The file ${name}.json could not be loaded (status ${response.status}).`);
    const about = await response.json();
    if (about.runtime_missing) {
      throw new Problem(`This page was built without its runtime: ${about.runtime_missing}.`);
    }
    const files = { [about.model]: about.model, "ort-wasm-simd-threaded.wasm": "runtime/ort-wasm-simd-threaded.wasm" };
    const all = Object.keys(files).reduce((sum, name) => sum + about.bytes[name], 0);
    const loaded = {};
    const [model, code] = await Promise.all(
      Object.entries(files).map(([name, url]) =>
        bytesOf(url, (bytes) => {
          loaded[name] = bytes;
          progress(Object.values(loaded).reduce((sum, part) => sum + part, 0), all);
        }),
      ),
    );
    const ort = await import("./runtime/ort.wasm.bundle.min.mjs");
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = code;
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    return new Network(about, session, ort);
  }

  /** A run from rest. */
  start() {
    return new Run(this);
  }

  tensor(values, shape) {
    return new this.ort.Tensor("float32", values, [1, ...shape]);
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
    this.steps = 0;
    this.states = {};
    for (const { name, shape } of network.about.states) {
      this.states[name] = network.tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);
    }
    this.spikes = {}; // so far, by the name of the layer
    this.accumulates = 0; // so far
    this.history = []; // of each step: { outputs: V[t] / t, potentials: V[t], spikes and accumulates so far }
  }

  /** One time step; returns the spikes of each layer, by name, that of the input included. */
  async step(input) {
    const { about, session } = this.network;
    const result = await session.run({ spikes: this.network.tensor(input, about.input.shape), ...this.states });
    for (const { name, next } of about.states) this.states[name] = result[next];
    const fired = { [about.input.name]: input };
    for (const layer of about.layers) fired[layer.name] = result[layer.spikes].data;
    this.steps += 1;
    for (const layer of about.layers) {
      this.spikes[layer.name] = (this.spikes[layer.name] ?? 0) + sum(fired[layer.name], () => 1);
    }
    this.spikes[about.input.name] = (this.spikes[about.input.name] ?? 0) + sum(input, () => 1);
    for (const { source, fan_out: fanOut } of about.connections) {
      this.accumulates += sum(fired[source], typeof fanOut === "number" ? () => fanOut : (i) => fanOut[i]);
    }
    const potentials = result.outputs.data;
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
