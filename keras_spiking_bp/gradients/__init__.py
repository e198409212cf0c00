"""Every custom derivative of the library, with its formula.

A spike is a step function; its derivative is defined here instead of computed. There are two choices: the derivative of
a spike, `LIFCell(surrogate=...)`, and the way back through time, `SpikingRNN(gradient=...)`:

                          "accumulated": once, on sums over time    "bptt": step by step
    surrogate=None        correction / threshold * last / T         spikes[t] * correction / threshold
    surrogate="bounded"   1 / threshold between the bounds          (refused)
    another surrogate     mean over t of surrogate(u[t]) * e[t]     surrogate(u[t])

with `correction = 1[fired] + ln(beta) * leaky_trace / spike_count` (`leak_correction`). For a `PoolingCell` 1 stands
for `1 / threshold`.

The paper is Lee, Sarwar, Panda, Srinivasan, Roy, arXiv 1903.06379; "the code" is the authors' PyTorch code.

On totals (`gradients.totals`, with the slopes of `gradients.slopes`)
    The chain rule on quantities summed over the window: `net = synapse(total_inputs)`, `d spike_count / d net = slope`.
    Used by `spike_total`, `spread_over_steps`, `total_over_steps`. The slope is

    * without a surrogate: the paper's approximate derivative with leak correction, times `last_spike / num_steps` where
      the reset is to zero: the mean over time of the slope of the authors' code, where a current after the last spike
      has none;
    * `"bounded"`: `within_bounds`, close to DSR (Meng et al., CVPR 2022, arXiv 2205.00459): a count lies between 0 and
      T, and between these bounds it is proportional to its input;
    * with another surrogate: rate-based backpropagation (after Yu et al., NeurIPS 2024, arXiv 2410.11488), by
      `eligibility_step`.

    With a synaptic current the first two slopes are multiplied by `mean_gain`, the first, where the reset is to zero,
    by that up to the last spike; and `e[t]` is different.

Step by step (`gradients.bptt`)
    Autodiff through the loop. With `surrogate=None` it is what the code does (`lif_step_bptt`, `leak_bptt`,
    `deliver_corrections`):

        d spikes[t] / d potential[t] = spikes[t] * correction / threshold     (correction as after the last step)
        d membrane[t+1] / d potential[t] = 1 - spikes[t]    nothing flows through a reset, to zero or by subtraction
        the leak counts as 1

    With a surrogate it is what snnTorch does, and SpikingJelly with detach_reset=True (`lif_step_surrogate`):

        d spikes[t] / d potential[t] = surrogate(potential[t] - threshold)
        d membrane[t+1] / d potential[t] = beta * (1 - spikes[t])    reset to zero
                                         = beta                      by subtraction: what is subtracted is a constant

    The decay of a synaptic current is differentiated in both. Forward mode (`tf.autodiff.ForwardAccumulator`) leaves
    the leak correction out, since it comes from later steps.
"""
