/* Runs the samples of a file, and prints a line each: steps, spikes, additions, cost of the steps.

   The file holds, for each sample, the number of frames and the frames, float32. The cost is instructions on a Cortex-M
   in QEMU (`-icount shift=0`: a nanosecond each), nanoseconds of this thread elsewhere. Compiled with network.c or with
   dense.c in its place, and with STEPS (0: as many as frames), DENSE, MARGIN (-1: no early exit), COUNT (the additions)
   and TRACE (before all that, the outputs after each step). */
#include "weights.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FRAMES 100

static Network network;
static float frames[FRAMES][NETWORK_INPUTS], image[NETWORK_INPUTS];

#ifdef __arm__
#define TIMER ((volatile uint32_t *)0x40000000) /* control, value, reload: counts down at 25 MHz */
static void start_clock(void) { TIMER[0] = 0, TIMER[1] = TIMER[2] = UINT32_MAX, TIMER[0] = 1; }
static uint64_t elapsed(void) { return 40 * (uint64_t)(UINT32_MAX - TIMER[1]); }

int main(void);
void initialise_monitor_handles(void); /* semihosting, of newlib */
static void reset(void) {
  *(volatile uint32_t *)0xE000ED88 = 0xF << 20; /* the floating-point unit on */
  initialise_monitor_handles();
  main();
  fflush(stdout);
  _Exit(0);
}
__attribute__((section(".vectors"), used)) static void *const vectors[] = {(void *)0x20400000, reset};
#else
static struct timespec started;
static void start_clock(void) { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &started); }
static uint64_t elapsed(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (uint64_t)((now.tv_sec - started.tv_sec) * 1000000000LL + now.tv_nsec - started.tv_nsec);
}
#endif

/* How many targets of an axis a place of the source reaches. */
static int reached(const Connection *c, int axis, int at) {
  int targets = 0;
  for (int i = 0; i < c->kernel[axis]; i++) {
    const int to = at + c->padding[axis] - i * c->dilation[axis];
    targets += to >= 0 && to % c->stride[axis] == 0 && to / c->stride[axis] < c->out_size[axis];
  }
  return targets;
}

/* Additions to currents that the last step needed: of its events, and where `with_input` of the input. */
static uint64_t additions(int with_input) {
  uint64_t sum = 0;
  for (int i = 0; i < NETWORK_OPERATIONS; i++) {
    const Operation *o = &network_operations[i];
    for (const Connection *c = o->connections; o->kind != MAXIMUM && c < o->connections + o->number; c++)
      for (int y = 0, at = 0; y < c->size[0]; y++)
        for (int x = 0; x < c->size[1]; x++) {
          const uint64_t each = (uint64_t)reached(c, 0, y) * reached(c, 1, x) * (c->out_channels / c->groups);
          for (int channel = 0; channel < c->channels; channel++, at++)
            if (c->source < 0 ? with_input && network.input[at] : network.signals[c->source + at] != 0) sum += each;
        }
  }
  return sum;
}

int main(void) {
  FILE *file = fopen("samples.bin", "rb");
  float given;
  while (fread(&given, sizeof given, 1, file) == 1) {
    const int steps = DENSE || !STEPS ? (int)given : STEPS;
    if (fread(frames, sizeof *frames, (size_t)given, file) != (size_t)given) return 1;
    if (NETWORK_POISSON && !DENSE) {
      memcpy(image, frames, sizeof image);
      for (int i = 0; i < steps; i++) network_poisson(image, 0, (uint32_t)i, frames[i]);
    }
    uint64_t spikes = 0, added = 0;
    int step = 0;
    network_reset(&network);
    start_clock();
    while (step < steps) {
      spikes += network_step(&network, NETWORK_CONSTANT_INPUT && step ? NULL : frames[step]);
      step++;
      if (COUNT) added += additions(step == 1 || !NETWORK_CONSTANT_INPUT);
      for (int i = 0; TRACE && i < NETWORK_OUTPUTS; i++) printf("%.9g ", (double)network_output(&network, i));
      if (MARGIN >= 0 && network_decide(&network, MARGIN) >= 0) break;
    }
    const uint64_t cost = elapsed();
    printf("%d %.0f %.0f %.0f\n", step, (double)spikes, (double)added, (double)cost);
  }
  return 0;
}
