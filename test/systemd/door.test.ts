/** The front door as a service of Type=notify, with its sockets from systemd: the units and the README of examples/systemd. */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import type { Child } from "../support/child.js";
import { until } from "../support/wait.js";
import { PATIENT, PROJECT, Sandbox } from "./sandbox.js";

const readme = readFileSync(new URL("../../examples/systemd/README.md", import.meta.url), "utf8");
const install = /\n```sh\n(.*?)\n```/s.exec(readme)![1]!;
const CONFIGURATION = "/etc/sni-handoff/front-door.yaml";
const DOOR = "sni-handoff.service";
const POOL = "a.pool.example.com";

const sandbox = new Sandbox();

const curl = (name: string) =>
  `curl --silent --show-error --max-time 100 --insecure --resolve ${name}:443:127.0.0.1 https://${name}/`;
const ask = (name: string) => sandbox.run(curl(name));
const mainPid = async (unit = DOOR) => (await sandbox.show(unit, "MainPID")).MainPID!;
const status = async () =>
  JSON.parse(await sandbox.run("curl --silent --unix-socket /run/sni-handoff/control.sock http://door/status"));

/** Adds to a unit. */
const dropIn = async (unit: string, name: string, content: string) => {
  await sandbox.write({ [`/etc/systemd/system/${unit}.d/${name}.conf`]: content });
  await sandbox.run("systemctl daemon-reload");
};
const undo = (unit: string, name: string) =>
  sandbox.run(`rm /etc/systemd/system/${unit}.d/${name}.conf; systemctl daemon-reload`);

const CLIENTS = 64;

/** Clients without a pause while `act` happens, and before and after it. */
async function underLoad(what: string, act: () => Promise<unknown>): Promise<{ served: number; failed: string[] }> {
  const load: Child = sandbox.start(["node", `${PROJECT}/test/systemd/fixtures/load.mjs`, String(CLIENTS), POOL]);
  const served = () => Number(/^served (\d+)$/.exec(load.lines.at(-1) ?? "")?.[1] ?? 0);
  await until("clients to be served", () => served() > 500);
  load.process.stdin!.write("act\n");
  await act();
  const before = served();
  await until("clients to be served after it", () => served() > before + 20);
  load.process.stdin!.end();
  await load.ended;
  const { slowest, ...seen } = JSON.parse(load.lines.at(-1)!);
  console.log(
    `${what}, ${CLIENTS} clients: ${seen.served} served, ${seen.failed.length} failed, slowest ${slowest[1]} ms; before it ${slowest[0]} ms`,
  );
  return seen;
}

beforeAll(async () => {
  await sandbox.run(install.split("\n").slice(0, -1).join("\n"));
  await sandbox.run(PATIENT);
  await sandbox.run(`sed -i 's/^routes:/accessLog: all\\ntimeouts: { hello: 60s }\\nroutes:/' ${CONFIGURATION}`);
  await sandbox.run(`${install.split("\n").at(-1)!} || { journalctl -u ${DOOR} >&2; false; }`);
});

describe("started", () => {
  test("it is ready when `systemctl start` returns, on the socket of its unit, as a user without rights", async () => {
    expect(
      await sandbox.show(DOOR, "ActiveState", "SubState", "Type", "NRestarts", "DynamicUser", "ProtectSystem"),
    ).toEqual({
      ActiveState: "active",
      SubState: "running",
      Type: "notify",
      NRestarts: "0",
      DynamicUser: "yes",
      ProtectSystem: "strict",
    });
    expect((await sandbox.show(DOOR, "StatusText")).StatusText).toMatch(/^running: /);
    const pid = await mainPid();
    const process = await sandbox.run(`cat /proc/${pid}/status`);
    expect(Number(/^Uid:\t(\d+)/m.exec(process)![1])).toBeGreaterThanOrEqual(61184); // systemd's dynamic users
    expect(process).toMatch(/^NoNewPrivs:\t1$/m);
    // One socket, systemd's and the door's.
    const listening = await sandbox.run("ss --no-header --listening --tcp --numeric --processes 'sport = :443'");
    expect(listening.split("\n")).toHaveLength(1);
    expect(listening).toContain("pid=1,");
    expect(listening).toContain(`pid=${pid},`);
    expect(await ask(POOL)).toMatch(/^hello /);
  });

  test("its status tells so", async () => {
    expect(await status()).toMatchObject({
      state: "running",
      listeners: [{ name: "*:443", source: "systemd" }],
      systemd: { notify: true, watchdog: 10 },
      privileges: { noNewPrivileges: true },
      control: "/run/sni-handoff/control.sock",
    });
  });

  test("the journal has a line for each connection, with its fields", async () => {
    await ask(POOL);
    const line = await until("the line", async () => {
      const lines = (await sandbox.run(`journalctl --unit=${DOOR} --output=json`)).split("\n");
      return lines.map((text) => JSON.parse(text)).find(({ MESSAGE }) => MESSAGE.includes('"event":"access"'));
    });
    expect(line).toMatchObject({ _SYSTEMD_UNIT: DOOR, SYSLOG_IDENTIFIER: expect.any(String), _PID: await mainPid() });
    expect(JSON.parse(line.MESSAGE)).toMatchObject({ event: "access", server_name: POOL, backend: "pool" });
  });
});

describe("reloaded", () => {
  test("a changed configuration is in force, with RELOADING and READY around it", async () => {
    const pid = await mainPid();
    await sandbox.run(`cp ${CONFIGURATION} /tmp/good.yaml; echo '  more.example.com: pool' >>${CONFIGURATION}`);
    await sandbox.run(`systemctl reload ${DOOR}`);
    await until(
      "the new name to be served",
      async () => (await sandbox.attempt(curl("more.example.com"))).status === 0,
    );
    await sandbox.until(DOOR, { ActiveState: "active", SubState: "running", MainPID: pid, NRestarts: "0" });
    expect(await sandbox.journal(DOOR)).toContain(`Reloaded ${DOOR}`);
  });

  test("a wrong one makes the command fail, and changes nothing", async () => {
    // Behind that come counts, which change.
    const inForce = async () => (await sandbox.show(DOOR, "StatusText")).StatusText!.split(";")[0];
    const before = await inForce();
    await sandbox.run(`cp ${CONFIGURATION} /tmp/better.yaml; echo 'nonsense: 1' >>${CONFIGURATION}`);
    expect((await sandbox.attempt(`systemctl reload ${DOOR}`)).status).not.toBe(0);
    expect(await sandbox.journal(DOOR)).toMatch(/front-door\.yaml:\d+:1: nonsense: /);
    expect(await ask("more.example.com")).toMatch(/^hello /);
    await sandbox.until(DOOR, { ActiveState: "active", SubState: "running" });
    expect(await inForce()).toBe(before);
    await sandbox.run(`cp /tmp/good.yaml ${CONFIGURATION}; systemctl reload ${DOOR}`);
  });

  test("a port of the socket unit that nobody is configured for is warned of", async () => {
    await dropIn("sni-handoff.socket", "more", "[Socket]\nListenStream=8443\n");
    await sandbox.run(`systemctl stop sni-handoff.socket ${DOOR}; systemctl start ${DOOR}`);
    expect(await sandbox.journal(DOOR)).toMatch(/nobody accepts on \[::\]:8443, .*\\"https\\"/);
    expect(await ask(POOL)).toMatch(/^hello /);
    await undo("sni-handoff.socket", "more");
    await sandbox.run(`systemctl stop sni-handoff.socket ${DOOR}; systemctl start ${DOOR}`);
  });
});

describe("an upgrade that fails at its very end", () => {
  test("leaves the process before as the main one, whose watchdog is heard", async () => {
    const dies = "/etc/sni-handoff/dies.mjs";
    await sandbox.write({
      [dies]: `if (process.env.SNI_HANDOFF_STAGE?.includes('"upgrade"')) process.on("message", () => process.exit(7));`,
    });
    await dropIn(DOOR, "dies", `[Service]\nEnvironment="NODE_OPTIONS=--import ${dies}"\n`);
    await sandbox.run(`systemctl restart ${DOOR}`);
    const pid = await mainPid();
    await sandbox.run(`systemctl kill --kill-whom=main --signal=USR2 ${DOOR}`);
    await until("the failure", async () => (await sandbox.journal(DOOR)).includes("ended with status 7"));
    await sandbox.until(DOOR, { ActiveState: "active", MainPID: pid });
    const fed = (await sandbox.show(DOOR, "WatchdogTimestampMonotonic")).WatchdogTimestampMonotonic;
    await until(
      "it to feed the watchdog",
      async () => (await sandbox.show(DOOR, "WatchdogTimestampMonotonic")).WatchdogTimestampMonotonic !== fed,
    );
    await sandbox.until(DOOR, { ActiveState: "active", MainPID: pid });
    await undo(DOOR, "dies");
    await sandbox.run(`systemctl restart ${DOOR}`);
  });
});

describe("under load, no client fails", () => {
  test("when it is restarted, ten times", async () => {
    const { failed } = await underLoad("10 restarts", async () => {
      for (let i = 0; i < 10; i++) await sandbox.run(`systemctl restart ${DOOR}`);
    });
    expect(failed).toEqual([]);
  });

  test("when it is upgraded; the new process is the main one, and its death is noticed", async () => {
    const old = await mainPid();
    const { NRestarts: before } = await sandbox.show(DOOR, "NRestarts");
    const { failed } = await underLoad("an upgrade", async () => {
      await sandbox.run(`systemctl kill --kill-whom=main --signal=USR2 ${DOOR}`);
      await until("another main process", async () => (await mainPid()) !== old);
      await until("the old one to end", async () => (await sandbox.attempt(`test -e /proc/${old}`)).status !== 0);
    });
    expect(failed).toEqual([]);
    await sandbox.until(DOOR, { ActiveState: "active", SubState: "running", NRestarts: before! });
    expect((await status()).listeners).toMatchObject([{ name: "*:443", source: "systemd" }]);
    // The watchdog is the new one's, too.
    const fed = (await sandbox.show(DOOR, "WatchdogTimestampMonotonic")).WatchdogTimestampMonotonic;
    await until(
      "the new one to feed the watchdog",
      async () => (await sandbox.show(DOOR, "WatchdogTimestampMonotonic")).WatchdogTimestampMonotonic !== fed,
    );
    await sandbox.run(`kill -KILL ${await mainPid()}`);
    await sandbox.until(DOOR, { ActiveState: "active", NRestarts: String(Number(before) + 1) });
  });

  test("when it is killed, ten times, but for those that it had accepted and not handed over", async () => {
    const { failed } = await underLoad("10 times kill -9", async () => {
      for (let i = 0; i < 10; i++) {
        const { NRestarts } = await sandbox.show(DOOR, "NRestarts");
        await sandbox.run(`systemctl kill --kill-whom=main --signal=KILL ${DOOR}`);
        await sandbox.until(DOOR, { ActiveState: "active", NRestarts: String(Number(NRestarts) + 1) });
      }
    });
    expect(failed.filter((message) => !message.startsWith("ECONNRESET"))).toEqual([]);
    expect(failed.length).toBeLessThanOrEqual(10 * CLIENTS);
  });
});

describe("the watchdog", () => {
  test("one worker that is stuck has the door started again", async () => {
    await dropIn(DOOR, "watchdog", "[Service]\nWatchdogSec=6s\n");
    await sandbox.run(`systemctl restart ${DOOR}`);
    const pid = await mainPid();
    const debuggerOf = sandbox.start(["python3", `${PROJECT}/test/support/stop-thread.py`, pid]);
    await debuggerOf.line("the thread to stop", (line) => line.startsWith("stopped"));
    await until("another main process", async () => ![pid, "0"].includes(await mainPid()));
    await sandbox.until(DOOR, { ActiveState: "active" });
    expect(await sandbox.journal(DOOR)).toMatch(/Watchdog timeout \(limit 6s\)!/);
    expect(await ask(POOL)).toMatch(/^hello /);
    debuggerOf.process.stdin!.end();
    await debuggerOf.ended;
    await undo(DOOR, "watchdog");
    await sandbox.run(`systemctl restart ${DOOR}`);
  });
});

describe("a backend on demand", () => {
  test("is started by its first client, which waits for it, and is not there before", async () => {
    expect((await sandbox.show("app.service", "ActiveState")).ActiveState).toBe("inactive");
    expect(await ask("app.example.com")).toMatch(new RegExp(`, ${await mainPid("app.service")}$`));
  });

  test("ends when idle and comes again, over and over, and never meets a start limit", async () => {
    // Five at once, because each takes some seconds.
    const CYCLES = 6;
    const names = ["d1", "d2", "d3", "d4", "d5"];
    await sandbox.run("systemctl stop app.socket app.service");
    await sandbox.run(`cd /etc/systemd/system
      for name in ${names.join(" ")}; do
        sed "s,/run/app/door.sock,/run/app/$name.sock,; s,IDLE_TIMEOUT=60000,IDLE_TIMEOUT=500,; s,app.socket,$name.socket," app.service >$name.service
        sed "s,/run/app/door.sock,/run/app/$name.sock," app.socket >$name.socket
        sed -i "s,^backends:,backends:\\n  $name: { handoff: /run/app/$name.sock\\, connect: lazily\\, hold: 60s }," ${CONFIGURATION}
        echo "  $name.example.com: $name" >>${CONFIGURATION}
      done
      systemctl daemon-reload
      systemctl start ${names.map((name) => `${name}.socket`).join(" ")} app.socket
      systemctl reload ${DOOR}`);
    // One is left alone after its first client, for as long as the others take.
    const cyclesOf = (name: string) => (name === names.at(-1) ? 1 : CYCLES);
    const cycles = async (name: string) => {
      const pids = new Set<string>();
      for (let i = 0; i < cyclesOf(name); i++) {
        const answer = await until("an answer", async () => {
          const { status, stdout } = await sandbox.attempt(curl(`${name}.example.com`));
          return status === 0 && stdout.trim(); // the reload may be on its way the first time
        });
        const [pid] = /\d+$/.exec(answer)!;
        pids.add(pid);
        await sandbox.until(`${name}.service`, { ActiveState: "inactive", Result: "success", ExecMainPID: pid });
      }
      expect(pids.size).toBe(cyclesOf(name));
      return [...pids].at(-1)!;
    };
    const last = await Promise.all(names.map(cycles));
    for (const [i, name] of names.entries()) {
      expect(await sandbox.show(`${name}.socket`, "ActiveState", "Result")).toEqual({
        ActiveState: "active",
        Result: "success",
      });
      // Nobody but a client started it: the last one that was is the last one that a client had to do with.
      expect(await sandbox.show(`${name}.service`, "NRestarts", "ExecMainPID")).toEqual({
        NRestarts: "0",
        ExecMainPID: last[i],
      });
    }
  });

  test("stays stopped with its socket unit, whoever comes, and is started again when that is", async () => {
    await sandbox.run("systemctl stop app.socket app.service");
    const clients = await Promise.all([1, 2, 3].map(() => sandbox.attempt(curl("impatient.example.com"))));
    expect(clients.map(({ status }) => status)).toEqual([35, 35, 35]); // an alert in the handshake, after the hold time
    expect(await sandbox.show("app.service", "ActiveState")).toEqual({ ActiveState: "inactive" });
    const held = sandbox.attempt(curl("app.example.com"));
    await sandbox.run("systemctl start app.socket");
    expect((await held).stdout).toMatch(/^hello /);
  });
});

describe("ended", () => {
  test("it says that it is stopping, finishes what waits, and has not failed", async () => {
    // Half a hello: the door has to wait for the rest, or the client's end.
    const client = sandbox.start([
      "bash",
      "--norc",
      "-c",
      "exec 3<>/dev/tcp/127.0.0.1/443; printf '\\x16\\x03\\x01' >&3; echo sent; read -r",
    ]);
    await client.line("a beginning", (line) => line === "sent");
    await until("it to be waiting", async () =>
      (await status()).workers.some(({ waiting }: { waiting: number }) => waiting > 0),
    );
    const stopping = sandbox.run(`systemctl stop sni-handoff.socket ${DOOR}`);
    await sandbox.until(DOOR, { ActiveState: "deactivating" });
    expect((await sandbox.show(DOOR, "StatusText")).StatusText).toContain("finishing what waits");
    client.process.stdin!.end();
    await stopping;
    await sandbox.until(DOOR, { ActiveState: "inactive", Result: "success", ExecMainStatus: "0" });
    await client.ended;
  });

  test("with a wrong configuration it fails with status 2, and serves whoever still waits once it is right", async () => {
    await sandbox.run(`systemctl stop sni-handoff.socket ${DOOR}`);
    await sandbox.run(`cp ${CONFIGURATION} /tmp/good.yaml; echo 'nonsense: 1' >>${CONFIGURATION}`);
    expect((await sandbox.attempt(`systemctl start ${DOOR}`)).status).not.toBe(0);
    await sandbox.until(DOOR, { ActiveState: "failed", ExecMainStatus: "2" });
    const client = sandbox.attempt(curl(POOL));
    await until("a second try", async () => (await sandbox.journal(DOOR)).split("nonsense: ").length > 3);
    await sandbox.run(`cp /tmp/good.yaml ${CONFIGURATION}`);
    expect((await client).stdout).toMatch(/^hello /);
    await sandbox.until(DOOR, { ActiveState: "active" });
  });
});
