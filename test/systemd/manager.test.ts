/** Notifications and watchdog, taken by a real systemd. */
import { afterEach, expect, test } from "vitest";
import { until } from "../support/wait.js";
import { PROJECT, Sandbox } from "./sandbox.js";

const sandbox = new Sandbox();
const UNIT = "notifying.service";
const RUNTIME = "/run/notifying";

async function start(service = ""): Promise<void> {
  await sandbox.write({
    [`/etc/systemd/system/${UNIT}`]: `[Service]
Type=notify
ExecStartPre=mkfifo ${RUNTIME}/commands ${RUNTIME}/commands1
ExecStart=/usr/bin/env node ${PROJECT}/test/systemd/fixtures/notifying.mjs
RuntimeDirectory=notifying
TimeoutStartSec=20
${service}
`,
  });
  await sandbox.run(`systemctl daemon-reload; systemctl start ${UNIT}`);
}

/** `which`: "" or "1" for the successor. */
const tell = (command: string, which = "") =>
  sandbox.run(`timeout 20 bash --norc -c 'echo "$1" >${RUNTIME}/commands${which}' _ '${command}'`);

afterEach(async () => {
  await sandbox.run(`systemctl stop ${UNIT}; systemctl reset-failed`);
});

test("a service of Type=notify is started when it says READY, and its status is shown", async () => {
  await start();
  await sandbox.until(UNIT, { ActiveState: "active", SubState: "running", StatusText: "as told" });
  await tell("status 3 backends, 2 ready");
  await sandbox.until(UNIT, { StatusText: "3 backends, 2 ready" });
  expect(await sandbox.run(`systemctl status ${UNIT}`)).toContain('Status: "3 backends, 2 ready"');
  expect(await sandbox.journal(UNIT)).toContain("NOTIFY_SOCKET is undefined, WATCHDOG_USEC is undefined");
});

test("a reload is seen from RELOADING to READY", async () => {
  await start();
  await tell("reloading reading the configuration");
  await sandbox.until(UNIT, {
    ActiveState: "reloading",
    SubState: "reload",
    StatusText: "reading the configuration",
  });
  await tell("ready generation 2");
  await sandbox.until(UNIT, { ActiveState: "active", SubState: "running", StatusText: "generation 2" });
});

test("an end is announced", async () => {
  await start();
  await tell("stopping finishing 3 connections");
  await sandbox.until(UNIT, { ActiveState: "deactivating", StatusText: "finishing 3 connections" });
  await tell("leave");
  await sandbox.until(UNIT, { ActiveState: "inactive", Result: "success" });
});

test("a process that takes over is the main one from MAINPID on: only it is listened to, and its death is noticed", async () => {
  await start("Restart=always\nRestartSec=100ms");
  const old = (await sandbox.show(UNIT, "MainPID")).MainPID!;
  await tell("succeed");
  const successor = await until("another main process", async () => {
    const { MainPID } = await sandbox.show(UNIT, "MainPID");
    return MainPID !== old && MainPID;
  });
  await tell("status the new one", "1");
  await sandbox.until(UNIT, { StatusText: "the new one" });
  await tell("status the old one");
  await tell(`mainPid ${old}`);
  await until("systemd to reject it", async () =>
    (await sandbox.journal(UNIT)).includes(`Got notification message from PID ${old}, but reception only permitted`),
  );
  await tell("leave");
  await until("the old one to end", async () => (await sandbox.attempt(`test -e /proc/${old}`)).status !== 0);
  expect(await sandbox.show(UNIT, "MainPID", "ActiveState", "NRestarts", "StatusText")).toEqual({
    MainPID: successor,
    ActiveState: "active",
    NRestarts: "0",
    StatusText: "the new one",
  });
  await sandbox.run(`kill -KILL ${successor}`);
  await sandbox.until(UNIT, { NRestarts: "1", ActiveState: "active" });
});

test("the watchdog is fed while all is well; when it is not, the service is killed and started again", async () => {
  await start("WatchdogSec=6s\nRestart=always\nRestartSec=100ms");
  const fed = new Set<string>();
  // Longer than the period, in which there are three.
  await until("signs of life", async () => {
    fed.add((await sandbox.show(UNIT, "WatchdogTimestampMonotonic")).WatchdogTimestampMonotonic!);
    return fed.size > 4;
  });
  expect(await sandbox.show(UNIT, "NRestarts")).toEqual({ NRestarts: "0" });
  await tell("stuck");
  await sandbox.until(UNIT, { NRestarts: "1", ActiveState: "active" });
  expect(await sandbox.journal(UNIT)).toMatch(/Watchdog timeout \(limit 6s\)!/);
});
