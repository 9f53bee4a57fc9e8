/** examples/systemd under a real systemd, by the very commands of its README. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/wait.js";
import { PATIENT, Sandbox } from "./sandbox.js";

const readme = readFileSync(new URL("../../examples/systemd/README.md", import.meta.url), "utf8");
const [install, oneLiners] = [...readme.matchAll(/\n```sh\n(.*?)\n```/gs)].map((match) => match[1]!) as [
  string,
  string,
];
const [tryDoor, tryApp] = oneLiners.split("\n") as [string, string];

const units = [
  "sni-handoff.socket",
  "sni-handoff.service",
  "app.socket",
  "app.service",
  "app@1.service",
  "sni-handoff-relay@1.service",
];
const sandbox = new Sandbox();

/** Asks for a page; its text, trimmed. */
const curl = (name: string, options = "") =>
  sandbox.run(
    `curl --silent --show-error --max-time 100 --cacert /etc/app/cert.pem --resolve ${name}:443:127.0.0.1 ${options} https://${name}/`,
  );

/** Resolves when it accepts. */
async function startDoor(): Promise<void> {
  await sandbox.run(tryDoor);
  const { InvocationID } = await sandbox.show("try-door.service", "InvocationID");
  await until("the front door to accept", async () =>
    (await sandbox.run(`journalctl --output=cat _SYSTEMD_INVOCATION_ID=${InvocationID}`)).includes('"event":"ready"'),
  );
}

beforeAll(async () => {
  // All but the start.
  await sandbox.run(install.split("\n").slice(0, -1).join("\n"));
  await sandbox.run(PATIENT);
});

describe("the units", () => {
  test("have nothing that systemd finds wrong", async () => {
    const paths = units.map((unit) => `/etc/systemd/system/${unit}`).join(" ");
    expect(await sandbox.attempt(`systemd-analyze verify ${paths}`)).toEqual({ status: 0, stdout: "", stderr: "" });
  });

  test.each(units.filter((unit) => unit.endsWith(".service")))(
    "%s is as little exposed as the README says",
    async (unit) => {
      const report = await sandbox.run(`systemd-analyze security --no-pager ${unit}`);
      const exposure = Number(/Overall exposure level for .*: ([\d.]+) /.exec(report)![1]);
      const claimed = Number(new RegExp(`^\\| ${unit} \\| ([\\d.]+) \\|`, "m").exec(readme)![1]);
      console.log(`${unit}: exposure ${exposure}`);
      expect(exposure).toBeLessThanOrEqual(claimed);
    },
  );
});

describe("a backend under its units, behind a front door of the README's", () => {
  beforeAll(async () => {
    await sandbox.run("systemctl start app.socket");
    await sandbox.until("app.service", { ActiveState: "inactive" });
    await startDoor();
  });
  afterAll(async () => {
    await sandbox.run("systemctl stop try-door app.socket app.service app@1 app@2");
  });

  test("is started by the front door's connection, and serves clients without a network of its own", async () => {
    const answer = await curl("app.example.com");
    const { MainPID, ActiveState } = await sandbox.show("app.service", "MainPID", "ActiveState");
    expect(answer).toBe(`hello ::ffff:127.0.0.1, this is app.example.com, ${MainPID}`);
    expect(ActiveState).toBe("active");
    expect(await sandbox.run(`nsenter -t ${MainPID} -n ip -brief link`)).toMatch(/^lo\s.*$/);
    expect(await curl("app.example.com", "--http1.1")).toBe(answer);
  });

  test("runs as its user, with the front door as another one", async () => {
    const owner = async (unit: string) => {
      const { MainPID } = await sandbox.show(unit, "MainPID");
      return sandbox.run(`ps -o user= -p ${MainPID}`);
    };
    expect(await owner("app.service")).toBe("app");
    expect(await owner("try-door.service")).toMatch(/^try-door$|^\d+$/);
    const { MainPID } = await sandbox.show("try-door.service", "MainPID");
    expect(await sandbox.run(`grep -h ^Cap[PE] /proc/${MainPID}/status`)).toMatch(
      // What the unit gave for ports below 1024 is given up once they are bound.
      /^CapPrm:\s0000000000000000\nCapEff:\s0000000000000000$/,
    );
  });

  test("comes back, with nobody lost, after it is stopped, restarted, and killed", async () => {
    const pids = new Set<string>();
    for (const act of ["stop app.service", "restart app.service", "kill --signal=KILL app.service"]) {
      await sandbox.run(`systemctl ${act}`);
      pids.add(/\d+$/.exec(await curl("app.example.com"))![0]);
    }
    expect(pids.size).toBe(3);
  });

  test("stays stopped with its socket unit: clients are held, refused, and the path is gone", async () => {
    await sandbox.run("systemctl stop app.socket app.service");
    expect(await sandbox.attempt("test -e /run/app/door.sock")).toMatchObject({ status: 1 });
    // 35: the TLS handshake failed, by an alert; after the hold time.
    const { status, stdout } = await sandbox.attempt(
      "curl --silent --max-time 100 --resolve impatient.example.com:443:127.0.0.1 --write-out '%{time_total}' https://impatient.example.com/",
    );
    expect(status).toBe(35);
    expect(Number(stdout)).toBeGreaterThan(4);
    expect(await sandbox.show("app.service", "ActiveState")).toEqual({ ActiveState: "inactive" });
    await sandbox.run("systemctl start app.socket");
    expect(await curl("app.example.com")).toMatch(/^hello /);
  });

  test("as a pool: instances come and go one by one", async () => {
    await sandbox.run("systemctl start app@1 app@2");
    const pid = async (instance: number) => (await sandbox.show(`app@${instance}`, "MainPID")).MainPID!;
    const served = async () => /\d+$/.exec(await curl("a.pool.example.com"))![0];
    const both = [await pid(1), await pid(2)];
    const seen = new Set<string>();
    while (seen.size < 2) seen.add(await served());
    expect([...seen].sort()).toEqual(both.sort());
    const left = await pid(2);
    await sandbox.run("systemctl stop app@1");
    expect(await sandbox.run("stat --format='%U %G %a' /run/app-pool/*.sock")).toBe("app front-door 660");
    for (let i = 0; i < 4; i++) expect(await served()).toBe(left);
  });
});

test("the README's transient units serve, too", async () => {
  await sandbox.run(tryApp);
  await sandbox.until("try-app.service", { ActiveState: "inactive" });
  await startDoor();
  expect(await curl("app.example.com")).toMatch(/^hello ::ffff:127\.0\.0\.1, this is app\.example\.com, \d+$/);
  await sandbox.run("systemctl stop try-door try-app.socket try-app");
  expect(await sandbox.run("systemctl list-units --no-legend --all 'try-*'")).toBe("");
});
