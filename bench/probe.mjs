/** Whether a front door really answers: one connection, through to the server behind. */
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { BenchFailure } from "./failure.mjs";

/**
 * Tries until a connection gets an answer.
 *
 * @param {string} address "127.0.0.1:443"
 * @param {Buffer} hello
 * @param {number} milliseconds to try at most
 * @param {AbortSignal} signal gives up
 * @throws {BenchFailure} if none does
 */
export async function waitForAnswer(address, hello, milliseconds, signal) {
  const deadline = Date.now() + milliseconds;
  let problem = "no answer";
  while (Date.now() < deadline) {
    signal.throwIfAborted();
    const answer = await attempt(address, hello, Math.min(2000, milliseconds));
    // A TLS alert that is fatal is the door's refusal, not the server's answer (RFC 8446 §6: level 2).
    if (Buffer.isBuffer(answer) && !(answer[0] === 21 && answer[5] === 2)) {
      return;
    }
    problem = Buffer.isBuffer(answer) ? `a fatal TLS alert, description ${answer[6]}` : answer;
    await sleep(100);
  }
  throw new BenchFailure(`${address} gave no answer in ${milliseconds / 1000} s: ${problem}`);
}

/** @param {string} address @param {Buffer} hello @param {number} milliseconds @returns {Promise<Buffer | string>} */
function attempt(address, hello, milliseconds) {
  const { hostname, port } = new URL(`tcp://${address}`);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => socket.write(hello));
    const settle = (/** @type {Buffer | string} */ outcome) => {
      socket.destroy();
      resolve(outcome);
    };
    socket.setTimeout(milliseconds, () => settle("no answer"));
    socket.on("data", settle);
    socket.on("error", (error) => settle(error.message));
    socket.on("close", () => settle("closed without an answer"));
  });
}
