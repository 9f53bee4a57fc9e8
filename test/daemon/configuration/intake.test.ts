/** What listeners take in: load balancers' headers, what is not TLS, and silence. */
import { describe, expect, test } from "vitest";
import { diffConfigurations, formatDiff } from "../../../src/daemon/configuration/index.js";
import { ConfigurationFolder, LISTENERS } from "./scene.js";

const folder = new ConfigurationFolder();
const BACKENDS = "backends: { web: { handoff: /run/web.sock }, ssh: { handoff: /run/ssh.sock } }\ndefault: web\n";
const BASE = `${LISTENERS}${BACKENDS}`;

const withListener = (more: string) =>
  `listeners: [{ address: "127.0.0.1:0", ${more} }]\n${BACKENDS}noServerName: ssh\n`;
const diff = async (running: string, next: string) =>
  formatDiff(diffConfigurations(await folder.load(running), await folder.load(next)));

describe("acceptProxyProtocol", () => {
  test("is compiled for the workers, and told as it is written", async () => {
    const { listeners, door } = await folder.load(
      withListener('acceptProxyProtocol: [10.0.0.0/8, "fd00::/8", 192.0.2.1]'),
    );
    expect(listeners[0]!.balancers).toEqual(["10.0.0.0/8", "fd00::/8", "192.0.2.1"]);
    const { v4, v6 } = door.listeners![0]!.balancers!;
    expect([v4.length, v6.length]).toEqual([4, 8]);
    expect((await folder.load(BASE)).door.listeners).toEqual([{ protocol: "tls", balancers: undefined }]);
  });

  test.each([
    ["10.0.0.0/8", 'found "10.0.0.0/8"; allowed: a list of blocks of addresses'],
    ["[]", "found an empty list; allowed: at least one block of addresses"],
    [
      "[10.0.0.1/8]",
      /^found "10\.0\.0\.1\/8", which has bits set behind the first 8 \(write 10\.0\.0\.0\/8\); allowed: /,
    ],
    ["[balancer.example]", /^found "balancer\.example"; allowed: an address or a block such as /],
  ])("%s is a problem", async (value, message) => {
    const [line, ...more] = await folder.problemsOf(withListener(`acceptProxyProtocol: ${value}`));
    expect(more).toEqual([]);
    expect(line!.split("acceptProxyProtocol")[1]!.replace(/^(\[\d\])?: /, "")).toEqual(
      typeof message === "string" ? message : expect.stringMatching(message),
    );
  });

  test("is compared", async () => {
    const next = withListener("acceptProxyProtocol: [10.0.0.0/8, 192.0.2.1]");
    expect(await diff(withListener("backlog: 4096"), next)).toEqual([
      '~ listeners["127.0.0.1:0"].acceptProxyProtocol: none -> 10.0.0.0/8, 192.0.2.1',
    ]);
  });
});

describe("notTls", () => {
  const rules = (...list: string[]) => `${BASE}notTls:\n${list.map((rule) => `  - ${rule}\n`).join("")}`;

  test("by first bytes: names for the usual ones, text with escapes for all others", async () => {
    const { door, routes } = await folder.load(
      rules(
        "{ starts: http, backend: web }",
        "{ starts: ssh, backend: ssh }",
        "{ starts: '\\x00\\xfF A\\r\\n\\t\\\\', backend: ssh }",
        '{ starts: "\\0\\r\\n", backend: ssh }',
        "{ backend: web }",
      ),
    );
    expect(door.notTls!.map(({ starts, backend }) => [starts === "http" ? starts : [...starts], backend])).toEqual([
      ["http", 0],
      [[...Buffer.from("SSH-")], 1],
      [[0, 0xff, 0x20, 0x41, 0x0d, 0x0a, 0x09, 0x5c], 1],
      [[0, 0x0d, 0x0a], 1],
    ]);
    const { RouteTable } = await import("../../../src/routing/table.js");
    expect(new RouteTable(routes).notTlsTarget).toBe(0);
    const without = await folder.load(rules("{ starts: http, backend: ssh }"));
    const { notTlsTarget } = new RouteTable(without.routes);
    expect(without.door.backends[notTlsTarget]).toMatchObject({
      kind: "reject",
      reject: "close",
      countedAs: "not_tls",
    });
  });

  const form =
    "allowed: http, ssh, or the first 1 to 64 bytes: text in single quotes, with \\xHH for what is not ASCII";
  test.each([
    [
      "{ starts: 'a\\b', backend: ssh }",
      `notTls[0].starts: found "a\\\\b", with a \\ that begins nothing (allowed behind it: xHH, r, n, t, \\); ${form}`,
    ],
    [
      "{ starts: é, backend: ssh }",
      `notTls[0].starts: found "é", with a character beyond ASCII (write its bytes, '\\xc3\\xa9'); ${form}`,
    ],
    ["{ starts: '', backend: ssh }", `notTls[0].starts: found "", which is 0 bytes; ${form}`],
    ["{ starts: 5, backend: ssh }", `notTls[0].starts: found 5; ${form}`],
    [
      "{ starts: http, backend: nobody }",
      'notTls[0].backend: found "nobody", which is not a backend; there are web, ssh',
    ],
  ])("%s is a problem", async (rule, message) => {
    expect((await folder.problemsOf(rules(rule))).map((line) => line.replace(/^[^ ]* /, ""))).toEqual([message]);
  });

  test("one that takes all comes last", async () => {
    expect(await folder.problemsOf(rules("{ backend: web }", "{ starts: http, backend: ssh }"))).toEqual([
      "door.yaml:6:5: notTls[1]: is never reached: the one before takes all; allowed: one without starts, at the end",
    ]);
  });

  test("one that no client comes to is a warning", async () => {
    const list = [
      "{ starts: '\\x16\\x03\\x01', backend: web }",
      "{ starts: SSH-, backend: ssh }",
      "{ starts: SSH-2, backend: web }",
      "{ starts: ssh, backend: ssh }",
      "{ starts: http, backend: web }",
      "{ starts: http, backend: ssh }",
      "{ starts: '\\x16', backend: web }",
      "{ starts: SS, backend: ssh }",
      "{ backend: web }",
    ];
    expect(await folder.warningsOf(rules(...list))).toEqual([
      "door.yaml:5:15: notTls[0].starts: is never reached: TLS begins like this",
      "door.yaml:7:15: notTls[2].starts: is never reached: rule 2 takes all its clients",
      "door.yaml:8:15: notTls[3].starts: is never reached: rule 2 takes all its clients",
      "door.yaml:10:15: notTls[5].starts: is never reached: rule 5 takes all its clients",
    ]);
  });

  test("is compared", async () => {
    expect(await diff(`${BASE}notTls: ssh\n`, rules("{ starts: http, backend: web }", "{ backend: ssh }"))).toEqual([
      "~ notTls: ssh -> http: web, else: ssh",
    ]);
    expect(await diff(BASE, rules("{ starts: ssh, backend: ssh }"))).toEqual(["~ notTls: none -> ssh: ssh"]);
  });
});

describe("silent", () => {
  test("turns TCP_DEFER_ACCEPT off where it is not asked for, and warns where it is", async () => {
    const silent = "silent: { after: 300ms, backend: ssh }\n";
    const { listeners, door, warnings } = await folder.load(`${BASE}${silent}`);
    expect(door.silent).toEqual({ after: 300, backend: 1 });
    expect(listeners[0]!.options.deferAccept).toBe(0);
    expect(warnings).toEqual([]);
    expect(await folder.warningsOf(`${withListener("deferAccept: 1s")}${silent}`)).toEqual([
      "door.yaml:1:52: listeners[0].deferAccept: comes on top of silent.after: the kernel shows a client that sends nothing only then",
    ]);
  });

  test("leaves no time for a hello that begins behind the deadline", async () => {
    expect(await folder.warningsOf(`${BASE}silent: { after: 5s, backend: ssh }\n`)).toEqual([
      "door.yaml:4:18: silent.after: leaves those who then speak no time: timeouts.hello, 5s, counts from accept too",
    ]);
  });

  test("names a backend, and is compared", async () => {
    expect(await folder.problemsOf(`${BASE}silent: { after: 1s, backend: smpt }\n`)).toEqual([
      'door.yaml:4:31: silent.backend: found "smpt", which is not a backend; there are web, ssh',
    ]);
    expect(await folder.problemsOf(`${BASE}silent: { after: 1s }\n`)).toEqual([
      "door.yaml:4:9: silent.backend: is missing; allowed: the name of a backend",
    ]);
    const used = `${BASE}noServerName: ssh\n`;
    expect(await diff(used, `${used}silent: { after: 1s, backend: ssh }\n`)).toEqual([
      '~ listeners["127.0.0.1:0"].deferAccept: 1s -> 0s',
      "~ silent: none -> after 1s: ssh",
    ]);
  });
});
