// The microphone, in samples at another rate. Nothing leaves the device.

import { Problem } from "./network.js";

const BUTTERWORTH = [-5.85, -4.42, -0.92, 8.17]; // dB: a low-pass filter of order 8
const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) this.port.postMessage(samples);
    return true;
  }
});`;

/** Asks for the microphone, and calls `heard(samples)` from then on; returns what ends it. */
export async function microphone(rate, heard) {
  const audio = { channelCount: 1, noiseSuppression: false, echoCancellation: false }; // as the network was trained
  const stream = await navigator.mediaDevices?.getUserMedia({ audio }).catch(() => null);
  if (!stream) throw new Problem("This page got no microphone. The recordings work without one.");
  const context = new AudioContext();
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([TAP], { type: "text/javascript" })));
  const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
  const filters = BUTTERWORTH.map((Q) => new BiquadFilterNode(context, { type: "lowpass", frequency: 0.49 * rate, Q }));
  [...filters, tap].reduce((from, to) => from.connect(to), context.createMediaStreamSource(stream));
  let [position, last] = [0, 0]; // of the next sample in the chunk; the sample before the chunk
  tap.port.onmessage = ({ data }) => {
    const samples = [];
    for (; position < data.length - 1; position += context.sampleRate / rate) {
      const i = Math.floor(position);
      const before = i < 0 ? last : data[i];
      samples.push(before + (position - i) * (data[i + 1] - before));
    }
    position -= data.length;
    last = data.at(-1);
    heard(samples);
  };
  return () => {
    for (const track of stream.getTracks()) track.stop();
    context.close();
  };
}
