/** The folders that the relay makes, and those that it leaves alone. */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { makeBackendFolders, makeRelayFolder, removeBackendFolders } from "../../../src/daemon/relay/folders.js";
import { Folder } from "../../support/folder.js";

const folder = new Folder();

test("of backends that are gone go, unless somebody is in them; what else is there stays", () => {
  const path = `${folder.at("relay")}/`;
  makeRelayFolder(path);
  makeBackendFolders(path, ["app", "shop", "mail"]);
  writeFileSync(`${path}mail/4711-0.sock`, "");
  mkdirSync(`${path}somebody-else's`);
  removeBackendFolders(path, ["shop", "mail", "never-made"]);
  expect(readdirSync(path).sort()).toEqual(["app", "mail", "somebody-else's"]);
});
