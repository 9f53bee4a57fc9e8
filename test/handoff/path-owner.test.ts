/** Whose a path is, and when that proves nothing. */
import { chmodSync, chownSync, lchownSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { ownerOf } from "../../src/handoff/path-owner.js";
import { Folder } from "../support/folder.js";

const STRANGER = 12345;
const BACKEND = 4242;
const folder = new Folder();

/** A file, or what `make` makes, of a user, in folders that are made as they are needed. */
function make(path: string, uid: number, put: (at: string) => void = (at) => writeFileSync(at, "")): string {
  const at = folder.at(path);
  mkdirSync(dirname(at), { recursive: true });
  put(at);
  lchownSync(at, uid, uid);
  return at;
}

describe.runIf(process.getuid!() === 0)("the owner of a path", () => {
  beforeAll(() => {
    for (const name of ["for-all", "sticky"]) mkdirSync(folder.at(name));
    chmodSync(folder.at("for-all"), 0o777);
    chmodSync(folder.at("sticky"), 0o1777);
  });

  it("counts in a folder where not everybody may make something, whoever that is", () => {
    expect(ownerOf(make("own/a", STRANGER), -1)).toBe(STRANGER);
    expect(ownerOf(make("own/b", 0), -1)).toBe(0);
    const group = make("group/a", STRANGER);
    chmodSync(dirname(group), 0o770);
    expect(ownerOf(group, -1)).toBe(STRANGER);
  });

  it.each(["for-all", "sticky"])("counts in the folder %s only if it is no stranger", (name) => {
    expect(ownerOf(make(`${name}/a`, STRANGER), BACKEND)).toBeUndefined();
    expect(ownerOf(make(`${name}/b`, BACKEND), BACKEND)).toBe(BACKEND);
    expect(ownerOf(make(`${name}/c`, 0), -1)).toBe(0);
    expect(ownerOf(make(`${name}/d`, BACKEND), -1)).toBeUndefined();
  });

  it("does not count below a stranger's folder in such a folder", () => {
    const inner = make("sticky/folder/inner/a", STRANGER);
    expect(ownerOf(inner, -1)).toBe(STRANGER); // both folders are root's
    chownSync(folder.at("sticky/folder"), STRANGER, STRANGER);
    expect(ownerOf(inner, -1)).toBeUndefined();
    expect(ownerOf(inner, STRANGER)).toBe(STRANGER);
  });

  it("does not count where a stranger's link leads, nor where a link leads to such a folder", () => {
    make("elsewhere/a", STRANGER);
    make("sticky/link", STRANGER, (at) => symlinkSync(folder.at("elsewhere"), at));
    expect(ownerOf(folder.at("sticky/link/a"), -1)).toBeUndefined();
    make("sticky/e", STRANGER);
    make("own/link", 0, (at) => symlinkSync(folder.at("sticky"), at));
    expect(ownerOf(folder.at("own/link/e"), -1)).toBeUndefined();
    expect(ownerOf(make("own/link/f", 0), -1)).toBe(0);
  });
});

it("is nobody for an abstract address, and an error for what is not there", () => {
  expect(ownerOf("@abstract", -1)).toBeUndefined();
  expect(() => ownerOf(folder.at("absent"), -1)).toThrowError(expect.objectContaining({ code: "ENOENT" }));
});
