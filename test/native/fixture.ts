import { fileURLToPath } from "node:url";

/** The script whose scenarios run in a process or worker of their own. */
export const fixture = fileURLToPath(new URL("fixtures/scenarios.mjs", import.meta.url));
export const python = fileURLToPath(new URL("fixtures/sockets.py", import.meta.url));
