#ifndef SNI_HANDOFF_SPLICER_H
#define SNI_HANDOFF_SPLICER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Moves bytes between pairs of sockets by splice(2), through pipes that are borrowed while bytes are on the way: an idle
 * pair holds none. The bytes do not come into the process's memory, except that a few (SPLICER_FEW) are copied: that
 * takes fewer calls, and what the other side does not take goes into a pipe at once.
 *
 * A pair is a row of two sockets, 0 and 1. All arrays belong to the caller; descriptors are never closed here, except
 * those of the pipes.
 */

/* Bits of a row's flags: what is known of each side, and what has been done. `side` is 0 or 1. */
#define SPLICER_READABLE(side) (1u << (side))  /* worth reading from: edge-triggered, cleared at EAGAIN */
#define SPLICER_WRITABLE(side) (4u << (side))  /* worth writing to */
#define SPLICER_BROKEN(side) (16u << (side))   /* in: EPOLLERR was seen: what is left to read is read, then it fails */
#define SPLICER_ENDED(side) (64u << (side))    /* out: its end of file was read */
#define SPLICER_SHUT(side) (256u << (side))    /* out: it was told the other side's end: shutdown(2), SHUT_WR */
#define SPLICER_ENDING(side) (1024u << (side)) /* in: EPOLLRDHUP was seen: behind the last bytes is an end of file */
#define SPLICER_BULK(side) (4096u << (side))   /* more than a few bytes came from it at a time */
#define SPLICER_WRITTEN(side) (1u << 14 << (side))  /* bytes were sent to it */
#define SPLICER_PREPARED(side) (1u << 16 << (side)) /* out: tcp_prepare_relayed */

/* Most bytes that are copied. Any pipe holds them: two pages are the least, pipe(7). */
enum { SPLICER_FEW = 8192 };

/* Bits of an outcome. */
enum splicer_outcome {
  SPLICER_MORE = 1,    /* its share of this call is used up: call again */
  SPLICER_NO_PIPE = 2, /* bytes that the other side does not take wait for a pipe: all are in use, or none can be made */
  SPLICER_FAILED = 4,  /* `errors` tells which side, and why */
  SPLICER_DONE = 8,    /* both ends were read and passed on */
};

struct splicer_pipe {
  int read, write; /* -1 while it isn't open */
  int capacity;
};

struct splicer {
  /* Two a row, by side. */
  int32_t *descriptors;
  int32_t *errors;
  uint32_t *flags; /* one a row */

  /* One call's rows, its outcomes, and two a row: the bytes that were passed on from each side. */
  int32_t *rows;
  uint32_t *outcomes;
  double *bytes;

  int32_t *pool_state; /* out: [0] pipes that are open, [1] borrowed */

  /*
   * What follows is this structure's own, for nobody else to write: indices and counts are trusted. `pipes` and `held`
   * have two elements a row, of the bytes that come from that side.
   */
  int32_t *pipes; /* index of the borrowed pipe, -1: none */
  uint32_t *held; /* bytes in it */
  int open_pipes, borrowed_pipes;
  struct splicer_pipe *pool;
  int32_t *free; /* a stack of those that are open and not borrowed; behind them, those that aren't open */
  int most_pipes;
  int pipe_bytes;
  uint8_t few[SPLICER_FEW];
  int32_t *closes; /* in: what is to be closed */
};

/* Before the first use: no row has a pipe, none is open. */
void splicer_prepare(struct splicer *splicer, size_t rows);

/* Moves what can be moved, for the first `count` of `rows`. */
void splicer_move(struct splicer *splicer, int count);

/* close(2) of sockets that do not linger. */
void splicer_close(const int32_t *descriptors, int count);

/* A row ends: its pipes go back, or are closed with what is in them. */
void splicer_release(struct splicer *splicer, int32_t row);

/* Closes pipes that nobody has borrowed, until at most `keep` of those are left. */
void splicer_trim(struct splicer *splicer, int keep);

#endif
