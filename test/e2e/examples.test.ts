/** examples/front-door.yaml with the backends beside it, by the very commands that its head tells to type. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { createConnection } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { Child } from "../support/child.js";
import { Folder } from "../support/folder.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = new Folder();
const children: Child[] = [];
mkdirSync(folder.at("examples"));
for (const name of readdirSync(`${root}/examples`)) {
  if (name !== "front-door.yaml") symlinkSync(`${root}/examples/${name}`, folder.at(`examples/${name}`));
}
// On a busy machine a backend is not there again within 5 s.
const held = readFileSync(`${root}/examples/front-door.yaml`, "utf8").replace("hold: 5s", "hold: 60s");
folder.write("examples/front-door.yaml", held);

/** The commands in the configuration's head comment, with continued lines joined. */
function commands(): string[] {
  const head = readFileSync(`${root}/examples/front-door.yaml`, "utf8").split("\n\n")[0]!;
  return head
    .replaceAll(/\\\n# +/g, "")
    .split("\n")
    .filter((line) => line.startsWith("#   "))
    .map((line) => line.slice(4).replace("npx sni-handoff", `node ${root}/dist/cli/main.js`));
}

const run = (command: string) =>
  execFileSync("bash", ["-c", command], { cwd: folder.path, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
const curl = (name: string, ...more: string[]) =>
  run(
    `curl --silent --show-error --max-time 20 --cacert cert.pem --resolve ${name}:8443:127.0.0.1 https://${name}:8443/ ${more.join(" ")}`,
  );

afterAll(async () => {
  await Promise.all(children.map((child) => child.end("SIGTERM")));
});

test("the example configuration with the example backends", async () => {
  for (const port of [8443, 8080]) {
    const inUse = await new Promise((resolve) => {
      const socket = createConnection(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    expect(inUse, `port ${port}, which the example uses, is taken by another process`).toBe(false);
  }

  const asTyped = commands();
  expect(asTyped).toHaveLength(7);
  for (const command of asTyped.slice(0, -1)) {
    if (!command.endsWith(" &")) run(command);
    else children.push(new Child("bash", ["-c", `exec ${command.slice(0, -2)}`], { cwd: folder.path }));
  }
  const [https, first, second, door] = children as [Child, Child, Child, Child];
  for (const backend of [https, first, second])
    await backend.line("a backend that receives", (line) => line.startsWith("receiving on"));
  await door.line("the front door to be ready", (line) => line.includes('"event":"ready"'));

  expect(run(asTyped.at(-1)!)).toBe("hello 127.0.0.1, this is www.example.com\n");
  // The wildcard leads to the http2 backend; the client may choose HTTP/1.1 there.
  expect(curl("app.example.com", "--http2", "--write-out '%{http_version}\\n'")).toBe(
    "hello 127.0.0.1, this is app.example.com\n2\n",
  );
  expect(curl("a.b.example.com", "--http1.1", "--insecure", "--write-out '%{http_version}\\n'")).toBe(
    "hello 127.0.0.1, this is a.b.example.com\n1.1\n",
  );
  expect(curl("one.tenants.example.net", "--insecure")).toBe("hello 127.0.0.1, this is one.tenants.example.net\n");
  expect(curl("two.tenants.example.net", "--insecure")).toBe("hello 127.0.0.1, this is two.tenants.example.net\n");
  expect(curl("admin.example.com")).toBe("hello 127.0.0.1, this is admin.example.com\n");
  expect(curl("shard-17.example.net", "--insecure")).toBe("hello 127.0.0.1, this is shard-17.example.net\n");
  expect(() => curl("shard-x.example.net", "--insecure")).toThrow();
  expect(() => curl("example.com", "--insecure")).toThrow(); // without a route: refused

  const plain = "--location --resolve www.example.com:8080:127.0.0.1 http://www.example.com:8080/";
  expect(curl("www.example.com", "--next", "--cacert cert.pem", plain)).toBe(
    "hello 127.0.0.1, this is www.example.com\n".repeat(2),
  ); // redirected

  // While a backend is away its clients wait.
  await https.end("SIGTERM");
  const asked = new Child("bash", ["-c", asTyped.at(-1)!], { cwd: folder.path });
  children.push(asked);
  const again = new Child("bash", ["-c", `exec ${asTyped[2]!.slice(0, -2)}`], { cwd: folder.path });
  children.push(again);
  expect(await asked.ended).toMatchObject({ status: 0 });
  expect(asked.lines).toEqual(["hello 127.0.0.1, this is www.example.com"]);
});
