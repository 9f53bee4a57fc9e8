/*
 * A ClientHello from a file, whose server name is another one for each connection: a run of '#' in the file (no host
 * name has that) is replaced by a number in decimal with leading zeros. Patching a few digits costs the generator
 * nothing, and a million names need no more memory than one.
 */
#ifndef BENCH_HELLO_H
#define BENCH_HELLO_H

#include <stddef.h>
#include <stdint.h>

enum { LONGEST_HELLO = 17 * 1024 };

struct hello {
    uint8_t bytes[LONGEST_HELLO];
    size_t length;
    size_t digits_at;
    size_t digits;
};

/* Ends the program if the file cannot be read, or if `names` need more digits than its run of '#' has. */
void hello_load(struct hello *hello, const char *path, uint64_t names);

static inline void hello_set_name(struct hello *hello, uint64_t number)
{
    for (size_t i = hello->digits; i-- > 0; number /= 10)
        hello->bytes[hello->digits_at + i] = (uint8_t)('0' + number % 10);
}

#endif
