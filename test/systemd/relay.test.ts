/** The relay as a service of its own, by examples/systemd: what happens to the front door cuts nothing, nor does its own restart. */
import { readFileSync } from "node:fs";
import { beforeAll, expect, test } from "vitest";
import { until } from "../support/wait.js";
import { PROJECT, Sandbox } from "./sandbox.js";

const readme = readFileSync(new URL("../../examples/systemd/README.md", import.meta.url), "utf8");
const blocks = [...readme.matchAll(/\n```(?:sh|yaml)\n(.*?)\n```/gs)].map((match) => match[1]!);
const install = blocks[0]!;
const relaySettings = blocks.find((block) => block.startsWith("relay:"))!;
const enable = blocks.find((block) => block.startsWith("systemctl enable --now sni-handoff-relay"))!;

const DOOR = "sni-handoff.service";
const FIRST = "sni-handoff-relay@1.service";
const SECOND = "sni-handoff-relay@2.service";
const NAME = "legacy.example.com";

const sandbox = new Sandbox();

const curl = (path: string) =>
  `curl --silent --show-error --no-buffer --max-time 280 --insecure --resolve ${NAME}:443:127.0.0.1 https://${NAME}${path}`;
const ask = () => sandbox.run(curl("/"));
const pidOf = async (unit: string) => (await sandbox.show(unit, "MainPID")).MainPID!;

/** Counts while `/count` is downloaded, one line each 50 ms, until somebody asks for `/end`. */
const origin = `
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
const waiting = new Set();
createServer({ cert: readFileSync("/etc/app/cert.pem"), key: readFileSync("/etc/app/key.pem") }, (request, response) => {
  if (request.url === "/end") for (const end of waiting) end();
  if (request.url !== "/count") return response.end("hello from the origin");
  let count = 0;
  const timer = setInterval(() => response.write(\`\${++count}\\n\`), 50);
  const end = () => { clearInterval(timer); waiting.delete(end); response.end(\`\${count} in all\\n\`); };
  waiting.add(end);
}).listen(8443, "127.0.0.1");
`;

/** A download through door and relay, and its lines so far. */
function download() {
  const child = sandbox.start(["sh", "-c", curl("/count")]);
  const more = async () => {
    const before = child.lines.length;
    await until("more of the download", () => child.lines.length > before + 3);
  };
  return { child, more };
}

beforeAll(async () => {
  await sandbox.run(install.split("\n").slice(0, -1).join("\n"));
  await sandbox.write({
    "/opt/origin.mjs": origin,
    "/etc/sni-handoff/front-door.yaml": `listeners: [{ address: "*:443" }]
control: /run/sni-handoff/control.sock
${relaySettings}
backends:
  legacy: { relay: "127.0.0.1:8443", hold: 60s }
routes: { ${NAME}: legacy }
`,
  });
  await sandbox.run(
    "systemd-run --unit=origin --property=LoadCredential=key.pem:/etc/app/key.pem node /opt/origin.mjs",
  );
  await sandbox.run(enable);
  await sandbox.run("systemctl start sni-handoff.socket sni-handoff.service");
  await until("the origin to answer", async () => (await sandbox.attempt(curl("/"))).status === 0);
});

test("it runs as its user, ready when systemctl returns, and the door starts none of its own", async () => {
  expect(await sandbox.show(FIRST, "ActiveState", "SubState", "Type", "NRestarts", "User", "Group")).toEqual({
    ActiveState: "active",
    SubState: "running",
    Type: "notify",
    NRestarts: "0",
    User: "sni-handoff-relay",
    Group: "front-door",
  });
  expect((await sandbox.show(FIRST, "StatusText")).StatusText).toMatch(/^running: 1 backend, /);
  expect(await ask()).toBe("hello from the origin");
  expect(await sandbox.run("stat --format='%U %G %a' /run/sni-handoff-relay/legacy/*.sock")).toBe(
    "sni-handoff-relay front-door 660",
  );
  expect(await sandbox.journal(DOOR)).not.toContain("relay.started");
  const shown = await sandbox.run(
    `node ${PROJECT}/dist/cli/main.js status --relay --config /etc/sni-handoff/front-door.yaml`,
  );
  expect(shown).toContain(`pid ${await pidOf(FIRST)}`);
});

test("the front door is restarted, stopped and killed: a download through it and the relay goes on", async () => {
  const { child, more } = download();
  await more();
  const relay = await pidOf(FIRST);
  for (const act of [
    "restart sni-handoff",
    "stop sni-handoff.socket sni-handoff",
    "start sni-handoff.socket sni-handoff",
  ]) {
    await sandbox.run(`systemctl ${act}`);
    await more();
  }
  const door = await pidOf(DOOR);
  await sandbox.run("systemctl kill --signal=KILL sni-handoff");
  await until("the next door", async () => !["0", door].includes(await pidOf(DOOR)));
  await more();
  expect(await pidOf(FIRST)).toBe(relay);
  await ask();
  await sandbox.run(curl("/end"));
  expect(await child.ended).toEqual({ status: 0, signal: null });
  expect(child.lines.at(-1)).toBe(`${child.lines.length - 1} in all`);
});

test("a reload of the front door is told to it; one of its own is possible, too", async () => {
  const generation = async () => {
    const { stdout } = await sandbox.attempt(
      "curl --silent --unix-socket /run/sni-handoff-relay/.control.sock http://relay/status",
    );
    return JSON.parse(stdout).configuration.generation as number;
  };
  const before = await generation();
  await sandbox.run("systemctl reload sni-handoff");
  await until("the door's reload", async () => (await generation()) === before + 1);
  await sandbox.run("systemctl reload sni-handoff-relay@1");
  await until("its own reload", async () => (await generation()) === before + 2);
});

test("another instance takes its place: nobody fails, and the first ends when its download has", async () => {
  const { child, more } = download();
  await more();
  const asking = sandbox.start(["sh", "-c", `until [ -e /run/enough ]; do ${curl("/")}; echo; sleep 0.05; done`]);
  await until("clients", () => asking.lines.length > 3);
  await sandbox.run("systemctl start sni-handoff-relay@2");
  const before = asking.lines.length;
  await until("more clients", () => asking.lines.length > before + 10);
  await sandbox.run("touch /run/enough");
  await asking.ended;
  expect(new Set(asking.lines)).toEqual(new Set(["hello from the origin"]));
  await more();
  expect((await sandbox.show(FIRST, "ActiveState")).ActiveState).toBe("deactivating");
  await sandbox.run(curl("/end"));
  expect(await child.ended).toEqual({ status: 0, signal: null });
  await sandbox.until(FIRST, { ActiveState: "inactive", Result: "success" });
  await sandbox.until(SECOND, { ActiveState: "active", SubState: "running" });
  expect(await ask()).toBe("hello from the origin");
});

test("it comes back when it is killed; clients wait meanwhile", async () => {
  const before = await pidOf(SECOND);
  await sandbox.run("systemctl kill --signal=KILL sni-handoff-relay@2");
  expect(await ask()).toBe("hello from the origin");
  expect(await pidOf(SECOND)).not.toBe(before);
});
