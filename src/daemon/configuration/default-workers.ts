import { availableParallelism } from "node:os";

/** Workers spend their time in system calls; the other half of the processors is for the backends behind them. */
export const defaultWorkers = Math.max(1, Math.min(4, Math.floor(availableParallelism() / 2)));
