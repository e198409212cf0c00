// The decision in words, and what was spent.

const at = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const energy = (picojoules) => `${number.format(Math.round(picojoules / 1000))} nJ`;
const times = (ratio) => (ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(1));

export class Report {
  constructor(network) {
    this.network = network;
    const { ann, costs } = network.about;
    at("ann").textContent = energy(network.energyOfAnn);
    at("costs").textContent =
      `A spike costs an addition (${costs.accumulate} pJ) for each synapse that it reaches; the ANN needs ` +
      `${number.format(ann.macs)} multiplications with addition (${costs.mac} pJ each) and ${number.format(ann.accumulates)} ` +
      "additions, once. 32-bit arithmetic in 45 nm; memory, which often costs more, is not counted.";
    this.announced = null;
  }

  /** Says what the margin means, from what was measured on the test set. */
  tellMargin(margin) {
    const { samples, num_steps: steps, early_exit: rows } = this.network.about.test_set;
    const row = rows.find((row) => row.margin === margin);
    at("margin-help").textContent =
      `It is certain when the largest V[t] / t is above the second by more than ${margin.toFixed(1)}. Measured on ` +
      `${number.format(samples)} test digits, with at most ${steps} steps: ${(100 * row.accuracy).toFixed(1)} % right, ` +
      `after ${row.steps.toFixed(1)} steps in the mean.`;
  }

  /** `decision`: the step, 0 for none yet. */
  show(run, decision, { image, ended, largest }) {
    const guess = decision ? run.history[decision - 1].outputs : null;
    const decided = guess ? guess.indexOf(Math.max(...guess)) : null;
    const plural = (n) => `${n} step${n === 1 ? "" : "s"}`;
    let [digit, headline, detail] = ["–", "No digit yet", "Draw one, or choose one."];
    if (image && !run.steps) [headline, detail] = ["Ready", "It begins by itself, or with Run."];
    if (run.steps && decided === null) {
      [digit, headline, detail] = [largest, ended ? "Not certain" : "Not certain yet", `Its best guess after ${plural(run.steps)}`];
    }
    if (decided !== null) {
      [digit, headline] = [decided, `It is ${decided === 8 ? "an" : "a"} ${decided}`];
      detail = `Certain after ${plural(decision)}`;
      if (run.steps > decision) {
        detail += decided === largest ? `; the same after ${run.steps}` : `; after ${run.steps} it would say ${largest}`;
      }
    }
    at("digit").textContent = digit;
    at("headline").textContent = headline;
    at("detail").textContent = `${detail}.`.replace("..", ".");
    at("verdict").classList.toggle("certain", decided !== null);
    this.#announce(decided !== null ? `${headline}. Certain after ${plural(decision)}.` : ended && image ? `${headline}. ${detail}: ${digit}.` : "");
    this.#spent(run, decision);
  }

  /** For screen readers: each decision once. */
  #announce(text) {
    if (text !== this.announced) at("announcement").textContent = this.announced = text;
  }

  #spent(run, decision) {
    const ann = this.network.energyOfAnn;
    const now = run.history.at(-1) ?? { spikes: 0, energy: 0 };
    const decisive = decision ? run.history[decision - 1] : null;
    const most = Math.max(ann, now.energy);
    at("spikes").textContent = number.format(now.spikes);
    at("energy").textContent = energy(now.energy);
    at("energy-bar").style.width = `${(100 * now.energy) / most}%`;
    at("energy-bar").classList.toggle("all", !decisive);
    at("energy-decision").hidden = !decisive;
    at("energy-decision").style.width = `${(100 * (decisive?.energy ?? 0)) / most}%`;
    at("ann-bar").style.width = `${(100 * ann) / most}%`;
    const ratio = decisive ? ann / decisive.energy : 0;
    at("ratio").textContent = !decisive
      ? ""
      : ratio >= 1
        ? `${energy(decisive.energy)} up to the decision: ${times(ratio)} times less than the ANN, in arithmetic`
        : `${energy(decisive.energy)} up to the decision: ${times(1 / ratio)} times more than the ANN, in arithmetic`;
  }
}
