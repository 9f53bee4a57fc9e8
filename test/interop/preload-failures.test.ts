/** Preloaded servers that cannot receive where they are told to: each fails to start, as it would for a port, and says why. */
import { chownSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Child } from "../support/child.js";
import { program } from "../support/programs.js";
import { Apache } from "./support/apache.js";
import { Haproxy } from "./support/haproxy.js";
import { preloadLibrary } from "./support/preload.js";
import { ADDRESS, PreloadScene } from "./support/preload-scene.js";
import { Stunnel } from "./support/stunnel.js";

const script = fileURLToPath(new URL("fixtures/https_server.py", import.meta.url));
/** nobody: may not write to folders of root. */
const NOBODY = 65534;

let scene: PreloadScene;

beforeEach(async () => {
  scene = await PreloadScene.create();
});

afterEach(() => scene.end());

interface Started {
  readonly child: Child;
  /** What it has written, its log included. */
  said(): string;
}

const startPython = (folder: string, environment: NodeJS.ProcessEnv, prefix: readonly string[] = []): Started => {
  const { certificate } = scene;
  mkdirSync(folder, { recursive: true });
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  writeFileSync(cert, certificate.cert);
  writeFileSync(key, certificate.key, { mode: 0o644 });
  const command = [...prefix, program("python3"), script, ...ADDRESS.split(":"), cert, key];
  const child = new Child(command[0]!, command.slice(1), { env: { ...process.env, ...environment } });
  return { child, said: () => child.stderr };
};

const servers: Record<string, (folder: string, environment: NodeJS.ProcessEnv) => Started> = {
  "Apache httpd": (folder, environment) => {
    const { certificate } = scene;
    const apache = Apache.spawn({ folder, certificate, mpm: "event", listen: [ADDRESS], environment });
    return { child: apache.child, said: () => `${apache.errors}${apache.child.stderr}` };
  },
  HAProxy: (folder, environment) => {
    const { child } = Haproxy.spawn({
      folder,
      certificate: scene.certificate,
      bind: [ADDRESS],
      master: true,
      environment,
    });
    return { child, said: () => child.stderr };
  },
  stunnel: (folder, environment) => {
    const stunnel = Stunnel.spawn({
      folder,
      certificate: scene.certificate,
      accept: ADDRESS,
      connect: "127.0.0.1:9",
      environment,
    });
    return { child: stunnel.child, said: () => `${stunnel.log}${stunnel.child.stderr}` };
  },
  Python: startPython,
};

const withPath = (path: string) => ({ LD_PRELOAD: preloadLibrary(), SNI_HANDOFF: path });

describe.each(Object.entries(servers))("%s", (_, start) => {
  it.each([
    ["a folder that is not there", (folder: string) => `443=${folder}/none/door.sock`, "No such file or directory"],
    ["a file in the place of a folder", (folder: string) => `443=${folder}/cert.pem/door.sock`, "Not a directory"],
    ["no path", () => "443", "Invalid argument"],
    ["a path that is not absolute", () => "443=door.sock", "Invalid argument"],
    ["no port", () => "https=/run/door.sock", "Invalid argument"],
    ["a path that is too long", (folder: string) => `443=${folder}/${"x".repeat(120)}`, "Invalid argument"],
  ])("%s", async (_, setting, error) => {
    const { folder } = scene;
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "cert.pem"), ""); // each has one there before it listens
    const value = setting(folder);
    const { child, said } = start(folder, withPath(value));
    const { status } = await child.ended;
    expect(status).not.toBe(0);
    expect(said()).toContain(error);
    // The library says what the server cannot know.
    const own = said()
      .split("\n")
      .filter((line) => line.startsWith("sni-handoff: "));
    expect(own.join("\n")).toContain(value.replace(/^443=/, ""));
    await scene.expectNothingLeft();
  });

  it("a path that another server receives on, which is not disturbed", async () => {
    const holder = startPython(join(scene.folder, "holder"), scene.environment);
    await holder.child.line("Python to serve", (line) => line === "serving");
    await scene.door.instances("app", 1);
    const { child, said } = start(join(scene.folder, "second"), scene.environment);
    const { status } = await child.ended;
    expect(status).not.toBe(0);
    expect(said()).toContain("Address already in use");
    // Who has it.
    expect(said()).toMatch(new RegExp(`sni-handoff: .*${scene.path}.*\\b\\d+\\b`));
    const load = await scene.load("from python\n");
    await holder.child.line("a client", (line) => line.startsWith("client "));
    expect((await load.stop()).failed).toBe(0);
    await holder.child.end("SIGTERM");
    await scene.expectNothingLeft();
  });
});

it("a folder that the server's user may not write to", async () => {
  mkdirSync(scene.folder, { recursive: true, mode: 0o755 });
  // It may read whatever there is, so that it matters not where this project and Python are.
  const rights = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
  const prefix = [program("setpriv"), `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", ...rights];
  const { child, said } = startPython(scene.folder, scene.environment, prefix);
  const { status } = await child.ended;
  expect(status).not.toBe(0);
  expect(said()).toContain("PermissionError: [Errno 13] Permission denied");
  expect(said()).toMatch(new RegExp(`sni-handoff: .*${scene.path}`));
  expect(readdirSync(scene.folder)).toEqual(["cert.pem", "key.pem"]);

  // In one that is its own it serves, without any right to a port.
  chownSync(scene.folder, NOBODY, NOBODY);
  const second = startPython(scene.folder, scene.environment, prefix);
  await second.child.line("Python to serve", (line) => line === "serving");
  await scene.door.instances("app", 1);
  const load = await scene.load("from python\n");
  await second.child.line("a client", (line) => line.startsWith("client 127.64."));
  expect((await load.stop()).failed).toBe(0);
  await second.child.end("SIGTERM");
  await scene.expectNothingLeft();
});
