#ifndef SNI_HANDOFF_FUZZ_INPUT_H
#define SNI_HANDOFF_FUZZ_INPUT_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the targets share: an input that is read piece by piece, and checks that end the run with a sentence. */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* What must hold whatever the input is. The input's file is written by libFuzzer, as for a crash. */
#define CHECK(condition, ...)                                              \
  do {                                                                     \
    if (!(condition)) {                                                    \
      fprintf(stderr, "%s:%d: does not hold: %s: ", __FILE__, __LINE__, #condition); \
      fprintf(stderr, __VA_ARGS__);                                        \
      fputc('\n', stderr);                                                 \
      abort();                                                             \
    }                                                                      \
  } while (0)

struct input {
  const uint8_t *at;
  size_t left;
};

static inline uint8_t take_byte(struct input *input) {
  if (input->left == 0) return 0;
  input->left--;
  return *input->at++;
}

static inline uint32_t take_number(struct input *input, size_t size) {
  uint32_t number = 0;
  for (size_t i = 0; i < size; i++) number |= (uint32_t)take_byte(input) << (8 * i);
  return number;
}

/* At most `most` bytes, in memory of exactly their size: reading behind them is found. The caller frees it. */
static inline uint8_t *take_block(struct input *input, size_t most, size_t *length) {
  *length = most < input->left ? most : input->left;
  uint8_t *block = malloc(*length > 0 ? *length : 1);
  CHECK(block != NULL, "no memory");
  memcpy(block, input->at, *length);
  input->at += *length;
  input->left -= *length;
  return block;
}

/* The same as text, ended by NUL. */
static inline char *take_text(struct input *input, size_t most) {
  size_t length;
  uint8_t *block = take_block(input, most, &length);
  char *text = malloc(length + 1);
  CHECK(text != NULL, "no memory");
  memcpy(text, block, length);
  text[length] = 0;
  free(block);
  return text;
}

/* How many descriptors this process has open. */
static inline int open_descriptors(void) {
  DIR *folder = opendir("/proc/self/fd");
  int count = 0;
  CHECK(folder != NULL, "no /proc");
  while (readdir(folder) != NULL) count++;
  closedir(folder);
  return count;
}

#endif
