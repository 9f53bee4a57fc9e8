/** What ends the benchmark with one sentence and no stack: the machine or the command line is not as it must be. */
export class BenchFailure extends Error {
  /** @param {string} message @param {{ status?: 1 | 2 }} [options] exit status: 1 it failed (default), 2 wrong usage */
  constructor(message, { status = 1 } = {}) {
    super(message);
    this.name = "BenchFailure";
    this.status = status;
  }
}
