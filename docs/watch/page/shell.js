// What the pages share: problems said to the reader, sliders, loading.

import { Network, Problem } from "./network.js";

export const at = (id) => document.getElementById(id);

/** Shows a problem to the reader. */
export function tell(what, error) {
  at("problem").textContent = error instanceof Problem ? error.message : `${what}: ${error.message ?? error}`;
  at("problem").classList.add("told");
  at("problem").hidden = false;
  console.error(error);
}

/** A slider over a list of values, with the text of the one chosen beside it. */
export function slider(id, values, start, text, changed = () => {}) {
  Object.assign(at(id), { min: 0, max: values.length - 1, step: 1 });
  at(id).value = start;
  const show = () => {
    at(`${id}-value`).textContent = text(values[at(id).value]);
    at(id).setAttribute("aria-valuetext", text(values[at(id).value]));
    changed(values[at(id).value]);
  };
  show();
  at(id).addEventListener("input", show);
}

/** Loads the network that `${name}.json` describes, and hands it to `start`. */
export async function begin(name, start) {
  at("problem").hidden = true;
  at("loading").hidden = false;
  try {
    const network = await Network.load(name);
    if (network.about.home) Object.assign(at("home"), { href: network.about.home, hidden: false });
    at("page").hidden = false;
    await start(network);
  } catch (error) {
    at("page").hidden = true;
    tell("The network could not be started", error);
  } finally {
    at("loading").hidden = true;
  }
}
