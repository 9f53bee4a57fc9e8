/* Gives a target the contents of each file that is named, and nothing: a target without its fuzzer. */
#include "input.h"

int main(int count, char **files) {
  static uint8_t bytes[1 << 16];
  LLVMFuzzerTestOneInput(bytes, 0);
  for (int i = 1; i < count; i++) {
    FILE *file = fopen(files[i], "rb");
    CHECK(file != NULL, "%s cannot be opened", files[i]);
    size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    LLVMFuzzerTestOneInput(bytes, length);
  }
  return 0;
}
