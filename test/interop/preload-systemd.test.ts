/** examples/systemd's drop-ins: nginx, HAProxy and Apache httpd under Debian's units, preloaded, behind the front door's. */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import type { Child } from "../support/child.js";
import type { LogLine } from "../support/door-process.js";
import { until } from "../support/wait.js";
import { PROJECT, Sandbox } from "../systemd/sandbox.js";
import { leftInQueue } from "./support/left-in-queue.js";
import { peer } from "./support/peers.js";

const readme = readFileSync(new URL("../../examples/systemd/README.md", import.meta.url), "utf8");
const blocks = [...readme.matchAll(/\n```(?:sh|yaml)\n(.*?)\n```/gs)].map((match) => match[1]!);
const install = blocks[0]!;
const dropIns = blocks.find((block) => block.includes("for unit in nginx"))!;
const backends = blocks.find((block) => block.includes("/run/nginx-door/"))!;

const DOOR = "sni-handoff.service";
const units = ["nginx", "haproxy", "apache2"];
const nameOf = (unit: string) => `${unit}.example.com`;

const sandbox = new Sandbox();

const ask = (unit: string) => {
  const name = nameOf(unit);
  return sandbox.run(
    `curl --silent --show-error --max-time 100 --insecure --resolve ${name}:443:127.0.0.1 --interface 127.0.0.77 https://${name}/`,
  );
};

/** Clients without a pause while `act` happens, and before and after it. */
async function underLoad(unit: string, act: () => Promise<unknown>): Promise<{ served: number; failed: string[] }> {
  const load: Child = sandbox.start(["node", `${PROJECT}/test/systemd/fixtures/load.mjs`, "8", nameOf(unit)]);
  const served = () => Number(/^served (\d+)$/.exec(load.lines.at(-1) ?? "")?.[1] ?? 0);
  await until("clients to be served", () => served() > 100);
  load.process.stdin!.write("act\n");
  await act();
  const before = served();
  await until("clients to be served after it", () => served() > before + 100);
  load.process.stdin!.end();
  await load.ended;
  return JSON.parse(load.lines.at(-1)!);
}

/** Clients of a unit that go with its listener when it is restarted: see leftInQueue. */
async function mayBeLost(unit: string): Promise<number> {
  const lines = (await sandbox.journal(DOOR)).split("\n").filter((line) => line.startsWith("{"));
  const log = lines.map((line) => JSON.parse(line) as LogLine);
  return leftInQueue(log.filter((line) => line.server_name === nameOf(unit))).size;
}

/** Processes of a unit: "PID COMMAND", of the command its first 15 bytes. */
const processes = async (unit: string) => {
  const { ControlGroup } = await sandbox.show(`${unit}.service`, "ControlGroup");
  if (!ControlGroup) return [];
  const lines = await sandbox.run(
    `for pid in $(cat /sys/fs/cgroup${ControlGroup}/cgroup.procs || :); do echo "$pid $(cat /proc/$pid/comm)"; done 2>/dev/null`,
  );
  return lines.split("\n").filter(Boolean);
};
const helpersOf = async (unit: string) =>
  (await processes(unit)).filter((line) => line.endsWith(" sni-handoff-hel")).map((line) => line.split(" ")[0]!);

/** Of a unit, and in force at its next start. */
const settings = async (unit: string, lines: string) => {
  await sandbox.write({ [`/etc/systemd/system/${unit}.service.d/test.conf`]: `[Service]\n${lines}\n` });
  await sandbox.run("systemctl daemon-reload");
};

const unset = async (unit: string) => {
  await sandbox.run(`rm /etc/systemd/system/${unit}.service.d/test.conf; systemctl daemon-reload`);
  await sandbox.run(`systemctl reset-failed ${unit}; systemctl restart ${unit}`);
};

// Debian's package apache2 has the unit and a frame of configuration; the program alone is in apache2-bin.
const apacheUnit = `[Unit]
Description=The Apache HTTP Server
After=network.target
[Service]
Type=forking
Environment=APACHE_STARTED_BY_SYSTEMD=true
ExecStart=${peer("apache2")} -f /etc/apache2/test.conf -k start
ExecStop=${peer("apache2")} -f /etc/apache2/test.conf -k graceful-stop
ExecReload=${peer("apache2")} -f /etc/apache2/test.conf -k graceful
KillMode=mixed
PrivateTmp=true
Restart=on-abort
`;
const apacheConfiguration = `ServerRoot /usr/lib/apache2
${["mpm_event", "authz_core", "alias", "socache_shmcb", "ssl"].map((name) => `LoadModule ${name}_module modules/mod_${name}.so`).join("\n")}
User www-data
Group www-data
ServerName ${nameOf("apache2")}
DefaultRuntimeDir /run/apache2
PidFile /run/apache2/apache2.pid
ErrorLog /var/log/apache2.error.log
LogFormat "%a" address
CustomLog /var/log/apache2.access.log address
Listen 443
SSLEngine on
SSLCertificateFile /etc/app/cert.pem
SSLCertificateKeyFile /etc/app/key.pem
AliasMatch ^/ /opt/hello.txt
<Location />
  Require all granted
</Location>
`;
const nginxSite = `server {
  listen 443 ssl;
  listen [::]:443 ssl;
  ssl_certificate /etc/app/cert.pem;
  ssl_certificate_key /etc/app/key.pem;
  location / { return 200 "hello $remote_addr\\n"; }
}
`;
const haproxyFrontend = `
frontend preloaded
  bind :443 ssl crt /etc/app/both.pem
  http-request return status 200 content-type text/plain lf-string "hello %ci\\n"
`;

beforeAll(async () => {
  await sandbox.run(install.split("\n").slice(0, -1).join("\n"));
  await sandbox.write({
    "/etc/sni-handoff/front-door.yaml": `listeners: [{ address: "*:443" }]
control: /run/sni-handoff/control.sock
accessLog: all
${backends.replaceAll("hold: 15s", "hold: 1m")}
  python: { handoff: /run/python-door/door.sock, hold: 1m }
routes: { ${nameOf("python")}: python, ${nameOf("nginx")}: nginx, ${nameOf("haproxy")}: haproxy, ${nameOf("apache2")}: apache }
`,
    "/etc/nginx/sites-enabled/default": nginxSite,
    "/etc/systemd/system/apache2.service": apacheUnit,
    "/etc/apache2/test.conf": apacheConfiguration,
    "/opt/hello.txt": "hello from httpd\n",
    "/tmp/frontend.cfg": haproxyFrontend,
  });
  await sandbox.run(`mkdir -p /run/apache2
    systemd-tmpfiles --create haproxy.conf
    cat /etc/app/cert.pem /etc/app/key.pem >/etc/app/both.pem
    cat /tmp/frontend.cfg >>/etc/haproxy/haproxy.cfg
    systemctl start sni-handoff.socket ${DOOR}`);
  await sandbox.run(`${dropIns} || { journalctl -u nginx -u haproxy -u apache2 >&2; false; }`);
});

describe.each(units)("%s", (unit) => {
  test("serves through the front door, and sees who the client is", async () => {
    await sandbox.until(`${unit}.service`, { ActiveState: "active", NRestarts: "0" });
    expect(await ask(unit)).toMatch(unit === "apache2" ? "hello from httpd" : "hello 127.0.0.77");
    if (unit === "apache2") expect(await sandbox.run("tail -n 1 /var/log/apache2.access.log")).toBe("127.0.0.77");
    expect(await helpersOf(unit)).toHaveLength(1);
    // Nobody but systemd and the front door has the port.
    const listening = await sandbox.run("ss --no-header --listening --tcp --numeric --processes 'sport = :443'");
    expect(listening.split("\n")).toHaveLength(1);
    expect(await sandbox.run(`stat --format='%U %G %a' /run/${unit}-door/door.sock`)).toBe("root front-door 660");
  });

  test("reloaded five times and restarted three times under load: nobody fails that was not long in its queue", async () => {
    const before = await mayBeLost(unit);
    const { failed } = await underLoad(unit, async () => {
      for (let i = 0; i < 5; i++) await sandbox.run(`systemctl reload ${unit}; sleep 0.2`);
      for (let i = 0; i < 3; i++) await sandbox.run(`systemctl restart ${unit}`);
    });
    expect(failed.filter((message) => !message.startsWith("ECONNRESET"))).toEqual([]);
    if (failed.length > 0) expect(failed.length).toBeLessThanOrEqual((await mayBeLost(unit)) - before);
  });

  test("its helper is killed: another one is there, for a server without rights, or in a root folder of its own", async () => {
    const { failed } = await underLoad(unit, async () => {
      for (let i = 0; i < 3; i++) {
        const before = await helpersOf(unit);
        expect(before).toHaveLength(1);
        await sandbox.run(`kill -KILL ${before[0]}`);
        await until("another helper", async () => {
          const [now] = await helpersOf(unit);
          return now !== undefined && now !== before[0];
        });
        await ask(unit);
      }
    });
    expect(failed).toEqual([]);
  });

  test("stopped: no process is left, and the path has gone", async () => {
    await sandbox.run(`systemctl stop ${unit}`);
    await sandbox.until(`${unit}.service`, { ActiveState: "inactive" });
    expect(await processes(unit)).toEqual([]);
    expect(await sandbox.attempt(`test -e /run/${unit}-door/door.sock`)).toMatchObject({ status: 1 });
    await sandbox.run(`systemctl start ${unit}`);
    expect(await ask(unit)).toMatch(/^hello /);
  });
});

describe("what else a unit may say, by the README's table", () => {
  test("is no hindrance", async () => {
    await settings(
      "haproxy",
      `NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/run
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateNetwork=yes
ProtectProc=invisible
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictNamespaces=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SYS_CHROOT CAP_KILL CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER
SystemCallFilter=@system-service chroot`,
    );
    await sandbox.run("systemctl restart haproxy || { journalctl -u haproxy >&2; false; }");
    expect(await ask("haproxy")).toBe("hello 127.0.0.77");
    const [before] = await helpersOf("haproxy");
    await sandbox.run(`kill -KILL ${before}; systemctl reload haproxy`);
    expect(await ask("haproxy")).toBe("hello 127.0.0.77");
  });

  test("but for unix sockets forbidden: then it fails to start, and says so", async () => {
    await settings("haproxy", "RestrictAddressFamilies=AF_INET AF_INET6");
    expect((await sandbox.attempt("systemctl restart haproxy")).status).not.toBe(0);
    expect(await sandbox.journal("haproxy.service")).toMatch(/Address family not supported by protocol/);
    await unset("haproxy");
  });

  test("as a user without any right, and without a network", async () => {
    await sandbox.write({
      "/etc/systemd/system/python.service": `[Service]
Type=exec
User=app
ExecStart=/usr/bin/python3 ${PROJECT}/test/interop/fixtures/https_server.py 0.0.0.0 443 \${CREDENTIALS_DIRECTORY}/cert.pem \${CREDENTIALS_DIRECTORY}/key.pem
LoadCredential=cert.pem:/etc/app/cert.pem
LoadCredential=key.pem:/etc/app/key.pem
Environment=LD_PRELOAD=${PROJECT}/native/build/preload/libsnihandoff.so
Environment=SNI_HANDOFF=443=/run/python-door/door.sock
PrivateNetwork=yes
PrivateUsers=yes
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/run/python-door
RestrictAddressFamilies=AF_UNIX AF_INET
SystemCallFilter=@system-service
`,
    });
    await sandbox.run("install -d -o app -g front-door -m 2750 /run/python-door; systemctl start python");
    expect(await ask("python")).toBe("hello from python");
    expect(await sandbox.journal("python.service")).toContain("client 127.0.0.77:");
    expect(await sandbox.run("stat --format='%U %G %a' /run/python-door/door.sock")).toBe("app front-door 660");
    await sandbox.run("systemctl stop python");
    expect(await processes("python")).toEqual([]);
  });
});

test("a folder that is not there: the unit fails to start, with that error", async () => {
  await settings("nginx", "Environment=SNI_HANDOFF=443=/run/nowhere/door.sock");
  expect((await sandbox.attempt("systemctl restart nginx")).status).not.toBe(0);
  await sandbox.until("nginx.service", { ActiveState: "failed" });
  const journal = await sandbox.journal("nginx.service");
  expect(journal).toMatch(/sni-handoff: .*\/run\/nowhere\/door\.sock.*No such file or directory/);
  expect(journal).toMatch(/bind\(\) to 0\.0\.0\.0:443 failed \(2: No such file or directory\)/);
  await unset("nginx");
  expect(await ask("nginx")).toMatch(/^hello /);
});
