// When the network is certain: early exit, as AccuracyOverTime.early_exit of keras_spiking_bp.analysis has it.

/** The index of the largest entry. */
export function largest(values) {
  return values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
}

/** By how much the largest output is above the second largest. */
export function margin(outputs) {
  const sorted = Float32Array.from(outputs).sort();
  return sorted.at(-1) - sorted.at(-2);
}

/** The number of steps after which the margin is first passed, from the outputs V[t] / t of each step; 0: never. */
export function certainAfter(history, needed) {
  return 1 + history.findIndex((outputs) => margin(outputs) > needed);
}
