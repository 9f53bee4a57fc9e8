/** What somebody can do who has taken over the door or the relay under their units of examples/systemd: README.md's table. */
import { readFileSync } from "node:fs";
import { beforeAll, expect, test } from "vitest";
import { native } from "../../src/native/addon.js";
import { until } from "../support/wait.js";
import { PROJECT, Sandbox } from "../systemd/sandbox.js";
import { aims, broken, compilation, type Intruded, type Targets } from "./intruder.js";

const readme = readFileSync(new URL("../../examples/systemd/README.md", import.meta.url), "utf8");
const install = /\n```sh\n(.*?)\n```/s.exec(readme)![1]!;
const FOLDER = "/etc/sni-handoff/intruder";
const CONFIGURATION = "/etc/sni-handoff/front-door.yaml";
const hasLandlock = native.landlockAbi() >= 6;

const sandbox = new Sandbox();

beforeAll(async () => {
  await sandbox.run(install.split("\n").slice(0, -1).join("\n"));
  const fixtures = `${PROJECT}/test/privilege/fixtures`;
  await sandbox.run(
    `mkdir ${FOLDER}; cp ${fixtures}/intruder.cjs ${FOLDER}/; ${compilation(`${fixtures}/intruder.c`, FOLDER, "/mnt/node").join(" ")}`,
  );
  const drop = `[Service]\nEnvironment="NODE_OPTIONS=--require=${FOLDER}/intruder.cjs"\n`;
  await sandbox.write({
    "/etc/systemd/system/sni-handoff.service.d/intruder.conf": drop,
    "/etc/systemd/system/sni-handoff-relay@.service.d/intruder.conf": drop,
  });
  await sandbox.run(`sed -i 's,^backends:,relay: { folder: /run/sni-handoff-relay/\\, start: false }\\nbackends:\\n  legacy: { relay: "127.0.0.1:8443" },; s/^routes:/routes:\\n  legacy.example.com: legacy/' ${CONFIGURATION}
    systemctl daemon-reload`);
});

test.runIf(hasLandlock).each([
  ["sni-handoff.service", "door's unit", "sni-handoff.socket sni-handoff.service"],
  ["sni-handoff-relay@1.service", "relay's unit", "sni-handoff-relay@1.service"],
])("an intruder in %s is refused what the table says, in each of its threads", async (unit, column, units) => {
  await sandbox.run(`systemctl start ${units}`);
  const { MainPID } = await sandbox.show(unit, "MainPID");
  const uid = await sandbox.run(`ps -o uid= -p ${MainPID}`);
  const outside = `/srv/${column.replace(/\W/g, "-")}`;
  const made = sandbox.start(["node", `${PROJECT}/test/privilege/fixtures/targets.mjs`, outside, uid]);
  const targets = await made.line("the targets", (line) => JSON.parse(line) as Targets);
  const files = { package: `${PROJECT}/dist/cli/main.js`, configuration: CONFIGURATION };
  await sandbox.write({ [`${FOLDER}/targets.json.new`]: aims(targets, files) });
  await sandbox.run(`mv ${FOLDER}/targets.json.new ${FOLDER}/targets.json`);
  const seen = await until(
    "all threads",
    async () => {
      const lines = (await sandbox.journal(unit)).split("\n").filter((line) => line.startsWith('{"event":"intruded"'));
      const each = lines.map((line) => JSON.parse(line) as Intruded);
      return new Set(each.map(({ thread }) => thread)).size === 2 && each;
    },
    60_000,
  );
  console.log(`${column}: ${JSON.stringify(seen[0]!.results)}`);
  for (const { thread, results } of seen) {
    expect({ thread, broken: broken(results, column) }).toEqual({ thread, broken: [] });
  }
  await sandbox.run(`systemctl stop ${units}; rm ${FOLDER}/targets.json`);
  made.process.stdin!.end();
  await made.ended;
});
