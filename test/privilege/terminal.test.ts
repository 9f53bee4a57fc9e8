/** A door that root has started from a shell and that became another user: it cannot type commands for that shell. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { ConfinedProcess, publicFolder } from "../daemon/privileges/confined-process.js";
import { program } from "../support/programs.js";
import { Intruder } from "./intruder.js";

const terminal = fileURLToPath(new URL("fixtures/terminal.py", import.meta.url));
/** ioctl_tty(2), TIOCSTI: not its controlling terminal; and where dev.tty.legacy_tiocsti is 0, for nobody. */
const REFUSED = ["EPERM", "EIO"];

it("can type nothing on the terminal, and ends by Ctrl-C", async () => {
  const folder = publicFolder();
  const confined = new ConfinedProcess(folder, {}, { prefix: [program("python3"), terminal] });
  await confined.told();
  const intruder = new Intruder(join(folder, "etc"));
  expect(REFUSED).toContain(await confined.ask("type", intruder.addon));
  confined.child.process.stdin!.write("\x03");
  await confined.child.ended;
});
