/** examples/go: its HTTPS server behind the front door. */
import { beforeAll } from "vitest";
import { buildGo } from "./support/go-build.js";
import { receiverTrials } from "./support/receiver-trials.js";

let binary: string;
beforeAll(() => {
  binary = buildGo("https");
});

receiverTrials({ name: "go", command: ({ socket, cert, key }) => [binary, socket, cert, key] });
