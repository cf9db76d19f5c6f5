/* Intel's ISA-L as the measure of Reed-Solomon: `isal LOST BYTES SECONDS`.
 * LOST 0 encodes a 4+2 stripe; LOST 1 or 2 rebuilds data shard 0, or 0 and 2, from the first
 * four others. BYTES is the data of one stripe. Prints bytes of data per second. */
#include <isa-l.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { K = 4, N = 6 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  const int lost = atoi(argv[1]);
  const int length = atoi(argv[2]) / K;
  const double seconds = atof(argv[3]);
  unsigned char *shards[N];
  for (int i = 0; i < N; i++) {
    shards[i] = aligned_alloc(64, (size_t)length);
    if (shards[i] == NULL) return 1;
    for (int at = 0; at < length; at++) shards[i][at] = (unsigned char)(at * 31 + i);
  }

  unsigned char generator[N * K];
  gf_gen_rs_matrix(generator, N, K);
  unsigned char rows[N * K];
  unsigned char *inputs[K];
  unsigned char *outputs[N];
  const int outputCount = lost == 0 ? N - K : lost;
  if (lost == 0) {
    memcpy(rows, generator + K * K, (N - K) * K);
    for (int i = 0; i < K; i++) inputs[i] = shards[i];
    for (int i = K; i < N; i++) outputs[i - K] = shards[i];
  } else {
    unsigned char square[K * K], inverse[K * K];
    int used = 0;
    for (int i = 0; used < K; i++) {
      if (i == 0 || (lost == 2 && i == 2)) continue;
      memcpy(square + used * K, generator + i * K, K);
      inputs[used++] = shards[i];
    }
    if (gf_invert_matrix(square, inverse, K) != 0) return 1;
    for (int i = 0; i < lost; i++) {
      memcpy(rows + i * K, inverse + 2 * i * K, K);
      outputs[i] = shards[2 * i];
    }
  }
  unsigned char tables[32 * K * N];
  ec_init_tables(K, outputCount, rows, tables);

  long times = 0;
  const double start = now();
  double elapsed;
  do {
    for (int i = 0; i < 16; i++) ec_encode_data(length, K, outputCount, tables, inputs, outputs);
    times += 16;
    elapsed = now() - start;
  } while (elapsed < seconds);
  printf("%.0f\n", times * (double)length * K / elapsed);
  return 0;
}
