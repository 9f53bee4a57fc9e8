/** What gets installed is what was tried, from whatever registry: package-lock.json. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

interface Locked {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
}

const read = (name: string) => JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), "utf8"));
const { packages } = read("package-lock.json") as { packages: Record<string, Locked> };
const { "": own, ...others } = packages;
const entries = Object.entries(others);
const names = (wrong: (locked: Locked) => boolean) =>
  entries.filter(([, locked]) => wrong(locked)).map(([name]) => name);

/** Those that ask for no more than their notice (dist/service/LICENSES and the packages themselves have it). */
const licences = ["MIT", "ISC", "0BSD", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"];

describe("the lock file", () => {
  test("has a digest of every package, for every platform", () => {
    expect(entries.length).toBeGreaterThan(50);
    expect(names(({ integrity }) => !integrity?.startsWith("sha512-"))).toEqual([]);
  });

  test("names no registry", () => {
    expect(names(({ resolved }) => resolved !== undefined)).toEqual([]);
  });

  test("has no package that runs a script when it is installed, but this one", () => {
    expect(names(({ hasInstallScript }) => hasInstallScript === true)).toEqual([]);
    expect(own!.hasInstallScript).toBe(true);
  });

  test("has nothing for users under a licence that asks for more than a notice", () => {
    expect(names(({ dev, license }) => dev !== true && !licences.includes(license ?? ""))).toEqual([]);
  });

  test("is of this package.json", () => {
    const { version, dependencies, devDependencies } = read("package.json");
    expect(own).toMatchObject({ version, dependencies, devDependencies });
  });
});
